// The draggable windows over the picture that the kernel draws; picker_link.py is the other side.
// Times are in seconds from T0, places in pixels of the page. A drag asks the kernel for nothing;
// letting go saves, and what the kernel answers is the truth.
const GRIPS = ["outer start", "steady start", "steady end", "outer end", "whole window"];
const [WHOLE, LEAST_SPAN_S, LATE_MS] = [4, 0.2, 5000];
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const seconds = (t) => (Math.round(t * 1000) / 1000).toString();

function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes))
    name.startsWith("on") ? element.addEventListener(name.slice(2), value) : element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// Jupyter takes keys for itself unless the focused element, this very one, says otherwise.
const focusable = (tag, attributes, ...children) =>
  h(tag, { "data-lm-suppress-shortcuts": "true", ...attributes }, ...children);
const button = (title, label, onclick) =>
  focusable("button", { type: "button", title, "aria-label": title, onclick }, label);

// The borders of a window in order of time: four, or two where it has no steady part.
const edgesOf = ({ outer, steady }) => (steady ? [outer[0], ...steady, outer[1]] : [...outer]);
const toWindow = ([first, ...rest]) =>
  rest.length === 3 ? { outer: [first, rest[2]], steady: rest.slice(0, 2) } : { outer: [first, ...rest], steady: null };
const placeOf = (win, grip) => (win.steady ? grip : Math.min(grip, 1));

// How far a grip can be moved: start and end stay the least length of a window apart.
function reach(win, grip, by, least) {
  const [edges, place] = [edgesOf(win), placeOf(win, grip)];
  const half = edges.length / 2;
  if (grip === WHOLE) return by;
  return place < half
    ? Math.min(by, Math.max(edges[half] - least - edges[place], 0))
    : Math.max(by, Math.min(edges[half - 1] + least - edges[place], 0));
}

// A grip moved by `by` seconds. A border pushes those on its side.
function moved(win, grip, by) {
  const edges = edgesOf(win);
  if (grip === WHOLE) return toWindow(edges.map((edge) => edge + by));
  const [place, half] = [placeOf(win, grip), edges.length / 2];
  const to = edges[place] + by;
  const push = (edge, other) => (other < place ? Math.min(edge, to) : other > place ? Math.max(edge, to) : to);
  return toWindow(edges.map((edge, other) => (other < half === place < half ? push(edge, other) : edge)));
}

const nearest = (places, t) =>
  places.reduce((best, place) => (Math.abs(place - t) < Math.abs(best - t) ? place : best), places[0] ?? t);

class Picker {
  constructor(model, root) {
    Object.assign(this, { model, root, id: Math.random().toString(36).slice(2), count: 0, queue: [] });
    // By slot: what the kernel said last; windows that are being moved, or not saved yet; and so on.
    for (const name of ["windows", "drafts", "figures", "parts", "rows"]) this[name] = new Map();
    this.build();
    const stop = new AbortController();
    const listen = (target, kind, act) => target.addEventListener(kind, act, { signal: stop.signal });
    const onMessage = (message, buffers) => this.receive(message, buffers);
    const onLook = () => this.onLook();
    const watchers = [new MutationObserver(onLook), new ResizeObserver(onLook)];
    watchers[0].observe(document.body, { attributeFilter: ["data-jp-theme-light"] });
    watchers[1].observe(root);
    listen(matchMedia("(prefers-color-scheme: dark)"), "change", onLook);
    const look = () => this.hold || this.tell({ do: "look" }); // has somebody else saved windows?
    listen(window, "focus", look);
    listen(root, "pointerenter", look);
    listen(document, "wheel", (event) => this.plot.contains(event.target) || (this.scrolled = event.timeStamp));
    model.on("msg:custom", onMessage);
    this.close = () => [stop.abort(), ...watchers.map((w) => w.disconnect()), model.off("msg:custom", onMessage)];
    this.tell({ do: "hello" });
    this.expect("The kernel does not answer: run this cell again.");
  }

  build() {
    const group = (...buttons) => h("span", { class: "pk-group" }, ...buttons);
    const act = (name) => () => this.change({ do: name });
    this.undoButton = button("Undo (Ctrl+Z)", "Undo", act("undo"));
    this.redoButton = button("Redo (Ctrl+Shift+Z)", "Redo", act("redo"));
    this.takeButton = button("Choose every proposed window", "Take all proposals", act("take-all"));
    this.status = h("span", { class: "pk-status", role: "status" });
    const bar = h("div", { class: "pk-bar", role: "toolbar", "aria-label": "Segment picker" },
      group(button("Zoom in", "+", () => this.zoom(0.5)), button("Zoom out", "−", () => this.zoom(2)),
        button("Earlier", "‹", () => this.pan(-0.4)), button("Later", "›", () => this.pan(0.4)),
        button("Show the whole run (double click)", "Whole run", () => this.show(...this.full)),
        button("Show the selected window", "Window", () => this.showSelected())),
      group(this.undoButton, this.redoButton), group(this.takeButton), this.status);
    this.canvas = h("canvas", { role: "img", "aria-label": "The run over time" });
    this.ghost = h("div", { class: "pk-ghost" });
    this.layer = h("div", {
      class: "pk-layer", ondblclick: () => this.show(...this.full), onpointerdown: (event) => this.grab(event),
      onpointermove: (event) => this.hold && this.drag(event), onpointerup: () => this.drop(true),
      onpointercancel: () => this.drop(false),
    }, this.ghost);
    this.plot = h("div", { class: "pk-plot" }, this.canvas, this.layer);
    this.plot.addEventListener("wheel", (event) => this.onWheel(event), { passive: false });
    this.notice = h("div", { class: "pk-notice", role: "alert" });
    this.readout = h("div", { class: "pk-readout", role: "group", "aria-label": "Figures of the selected window" });
    this.body = h("tbody");
    const titles = ["Test", "Outer window (s)", "Steady window (s)", "Figure", "State", "Act"];
    const head = h("thead", {}, h("tr", {}, ...titles.map((title) => h("th", { scope: "col" }, title))));
    this.root.className = "pk-picker";
    this.root.addEventListener("keydown", (event) => this.onKey(event));
    this.root.replaceChildren(bar, this.plot, this.notice, this.readout,
      h("div", { class: "pk-table" }, h("table", {}, head, this.body)));
  }

  tell(message) {
    try { this.model.send({ view: this.id, ...message }); }
    catch { this.say("The kernel is gone, nothing is saved: run this cell again.", true); }
  }
  expect(complaint) {
    clearTimeout(this.late);
    this.late = setTimeout(() => this.say(complaint, true), LATE_MS);
  }

  // Changes go one after the other; a later one of the same window replaces one that waits.
  change(message) {
    this.ownRefusal = null;
    const isOther = (m) => m.do !== "choose" || message.do !== "choose" || m.slot !== message.slot;
    this.queue = [...this.queue.filter(isOther), message];
    this.next();
  }

  next() {
    if (this.waiting || !this.queue.length) return;
    this.waiting = `${this.id}:${++this.count}`;
    this.tell({ ...this.queue.shift(), id: this.waiting });
    this.expect("Not saved yet: the kernel is busy, or gone.");
  }

  receive(message, buffers) {
    if (message.say === "state") this.onState(message);
    else if (message.view === this.id) message.say === "picture" ? this.onPicture(message, buffers[0]) : this.onFigures(message);
  }

  onState(state) {
    if (state.id === this.waiting) this.waiting = null;
    if (!this.waiting) clearTimeout(this.late);
    this.windows = new Map(state.windows.map((win) => [win.slot, win]));
    const held = [...this.queue.map((m) => m.slot), this.hold?.slot];
    for (const slot of this.drafts.keys()) if (!held.includes(slot)) this.drafts.delete(slot);
    [this.full, this.least] = [state.range, state.least];
    this.range ??= [...this.full];
    if (state.id?.startsWith(this.id) && state.select) this.selected = state.select;
    this.selected ??= state.windows[0]?.slot;
    [this.undoButton.disabled, this.redoButton.disabled] = [!state.canUndo, !state.canRedo];
    this.takeButton.hidden = !state.windows.some((win) => win.outer && !win.chosen);
    if (this.ownRefusal && !state.isError) this.say(this.ownRefusal, true);
    else this.say(state.message, state.isError, state.isRefused);
    for (const slot of state.changed) if (this.figures.has(slot)) this.figures.get(slot).isOld = true;
    for (const act of ["onLook", "place", "askFigures", "next"]) this[act]();
  }

  // What the page refuses itself stands until the next change: the answer to the last may be on its way.
  refuse(text) {
    this.ownRefusal = text;
    this.say(text, true);
  }

  say(text, isError, isRefused) {
    const mine = button("Apply my change", "Apply my change", () => this.change({ do: "insist" }));
    this.status.textContent = isError ? "" : text;
    this.notice.replaceChildren(...(isError ? [`⚠ ${text} `] : []), ...(isRefused ? [mine] : []));
  }

  // Figures come one window at a time, the selected one first, so that the kernel stays free.
  askFigures() {
    const entry = (texts) => h("div", {}, ...texts.map((text) => h("span", {}, text)));
    this.readout.replaceChildren(...(this.figures.get(this.selected)?.entries ?? []).map(entry));
    const lacks = (slot) => this.figures.get(slot)?.isOld ?? true;
    const isBare = this.windows.has(this.selected) && (lacks(this.selected) || !this.figures.get(this.selected).edges);
    const slot = isBare ? this.selected : [...this.windows.keys()].find(lacks);
    this.readout.classList.toggle("pk-old", lacks(this.selected));
    if (this.asked || slot === undefined) return;
    this.tell({ do: "figures", slot, edges: (this.asked = true) && isBare });
  }

  onFigures(found) {
    this[found.preview ? "previewing" : "asked"] = false;
    if (!found.preview || this.drafts.has(found.slot)) this.figures.set(found.slot, { isOld: false, ...found });
    this.rows.get(found.slot).figure.textContent = found.figure;
    this.askFigures();
  }

  onLook() {
    const light = document.body.dataset.jpThemeLight;
    const dark = light ? light === "false" : matchMedia("(prefers-color-scheme: dark)").matches;
    const width = Math.floor(this.root.clientWidth);
    this.root.classList.toggle("pk-dark", dark);
    if (!this.range || !width || (width === this.width && dark === this.dark)) return;
    Object.assign(this, { width, dark });
    this.askPicture();
  }

  askPicture() {
    this.again = this.drawing;
    if (this.drawing) return;
    this.drawing = true;
    const [begin, end] = this.range;
    this.tell({ do: "draw", begin, end, width: this.width, ratio: devicePixelRatio, dark: this.dark });
  }

  async onPicture(picture, buffer) {
    this.picture = { ...picture, image: await createImageBitmap(new Blob([buffer], { type: "image/png" })) };
    const { left, right, height, panels } = picture;
    this.drawing = false;
    this.canvas.setAttribute("aria-label", picture.alt);
    this.plot.style.height = `${height}px`;
    this.layer.style.cssText =
      `left:${left}px;width:${right - left}px;height:${panels.at(-1)[1]}px;--pk-top:${panels[0][0]}px`;
    this.place();
    this.root.dataset.drawn = Number(this.root.dataset.drawn ?? 0) + 1;
    if (this.again) this.askPicture();
  }

  // The picture where it belongs; until a fresh one comes, the old one is stretched.
  paint() {
    const { image, begin, end, width, height, left, right } = this.picture;
    const ratio = image.width / width;
    Object.assign(this.canvas, { width: image.width, height: image.height });
    this.canvas.style.cssText = `width:${width}px;height:${height}px`;
    const pen = this.canvas.getContext("2d");
    pen.drawImage(image, 0, 0);
    if (begin === this.range[0] && end === this.range[1]) return;
    const [from, across] = [left * ratio, (right - left) * ratio];
    const [to, wide] = [from + this.x(begin) * ratio, (this.x(end) - this.x(begin)) * ratio];
    pen.clearRect(from, 0, across, image.height);
    pen.rect(from, 0, across, image.height);
    pen.clip();
    pen.drawImage(image, from, 0, across, image.height, to, 0, wide, image.height);
  }

  span = () => this.range[1] - this.range[0];
  x = (t) => ((t - this.range[0]) / this.span()) * (this.picture.right - this.picture.left);
  t(event) {
    const { left, width } = this.layer.getBoundingClientRect();
    return this.range[0] + ((event.clientX - left) / width) * this.span();
  }

  show(begin, end) {
    const whole = this.full[1] - this.full[0];
    const span = clamp(end - begin, Math.min(LEAST_SPAN_S, whole), whole);
    const from = clamp((begin + end - span) / 2, this.full[0], this.full[1] - span);
    this.range = span === whole ? [...this.full] : [from, from + span];
    this.place();
    this.askPicture();
  }

  zoom = (factor, around = (this.range[0] + this.range[1]) / 2) =>
    this.show(...this.range.map((edge) => around + (edge - around) * factor));
  pan = (share) => this.show(...this.range.map((edge) => edge + share * this.span()));

  showSelected() {
    const { outer } = this.shown(this.selected) ?? {};
    if (outer) this.show(1.15 * outer[0] - 0.15 * outer[1], 1.15 * outer[1] - 0.15 * outer[0]);
  }

  // A scroll that began elsewhere, or one that could change nothing, goes on to the page.
  onWheel(event) {
    if (!this.picture) return;
    const across = clamp(event.shiftKey ? event.deltaY : event.deltaX, -200, 200);
    const isWhole = this.range[0] === this.full[0] && this.range[1] === this.full[1];
    const isPassing = event.timeStamp - (this.scrolled ?? -LATE_MS) < 300;
    if (isPassing) this.scrolled = event.timeStamp;
    if (isPassing || (isWhole && (across || event.deltaY > 0))) return;
    event.preventDefault();
    across ? this.pan(across / 800) : this.zoom(Math.exp(clamp(event.deltaY, -200, 200) / 400), this.t(event));
  }

  shown = (slot) => this.drafts.get(slot) ?? this.windows.get(slot);

  place() {
    if (!this.picture) return;
    this.paint();
    for (const [slot, known] of this.windows) {
      if (!this.parts.has(slot)) this.parts.set(slot, this.addParts(slot));
      this.placeOne(slot, this.shown(slot), known.chosen || this.drafts.has(slot));
      this.fillRow(slot, known);
    }
  }

  addParts(slot) {
    const bands = ["outer", "steady"].map((name) => h("div", { class: `pk-${name}` }));
    const grips = GRIPS.map((name, grip) => focusable("div", {
      class: `pk-grip pk-grip-${grip}`, role: "slider", "aria-label": `${slot} ${name}`, "data-grip": grip,
      "aria-orientation": "horizontal", onfocus: () => this.select(slot),
    }));
    const group = h("div", { class: "pk-window", "data-slot": slot }, ...bands, ...grips);
    this.layer.append(group);
    return { group, bands, grips };
  }

  placeOne(slot, win, isChosen) {
    const { group, bands, grips } = this.parts.get(slot);
    if ((group.hidden = !win.outer)) return;
    const isSelected = slot === this.selected;
    const across = ([begin, end]) => `left:${this.x(begin)}px;width:${this.x(end) - this.x(begin)}px`;
    const width = this.x(win.outer[1]) - this.x(win.outer[0]);
    group.className = `pk-window ${isChosen ? "pk-chosen" : "pk-proposed"}`;
    group.classList.toggle("pk-selected", isSelected) || group.classList.toggle("pk-narrow", width < 40);
    bands[0].style.cssText = across(win.outer);
    bands[1].hidden = grips[1].hidden = grips[2].hidden = !win.steady;
    if (win.steady) bands[1].style.cssText = across(win.steady);
    grips.forEach((grip, place) => {
      const isWhole = place === WHOLE;
      const value = isWhole ? win.outer[0] : edgesOf(win)[placeOf(win, place)];
      grip.style.cssText = isWhole ? across(win.outer) : `left:${this.x(value)}px`;
      grip.tabIndex = isSelected ? 0 : -1;
      const said = [value, ...this.full].map(seconds);
      ["now", "min", "max"].forEach((name, at) => grip.setAttribute(`aria-value${name}`, said[at]));
      grip.ariaValueText = `${said[0]}${isWhole ? ` to ${seconds(win.outer[1])}` : ""} seconds after T0`;
    });
    grips[WHOLE].textContent = `${isChosen ? "✓" : "?"} ${width > 9 * slot.length || isSelected ? slot : ""}`;
  }

  select = (slot) => slot === this.selected || [(this.selected = slot), this.place(), this.askFigures()];

  move(slot, win) {
    this.drafts.set(slot, win);
    [this.placeOne(slot, win, true), this.fillRow(slot, this.windows.get(slot))]; // and no other
    if (this.previewing) return;
    this.previewing = true;
    this.tell({ do: "figures", slot, steady: win.steady, preview: true });
  }

  save = (slot, snap = "") => this.change({ do: "choose", slot, snap, ...this.drafts.get(slot) });

  grab(event) {
    if (event.button !== 0 || !this.picture) return;
    const slot = event.target.closest(".pk-window")?.dataset.slot;
    const grip = Number(event.target.dataset.grip ?? WHOLE);
    this.layer.setPointerCapture(event.pointerId);
    this.hold = { slot, grip, at: this.t(event), x: event.clientX, win: this.shown(slot) };
    this.parts.get(slot)?.grips[grip].focus({ preventScroll: true });
    event.preventDefault();
  }

  drag(event) {
    const { slot, grip, at, win, x } = this.hold;
    if (!this.hold.moved && Math.abs(event.clientX - x) < 3) return;
    Object.assign(this.hold, { moved: true, snap: event.shiftKey ? "changes" : "samples" });
    const snapped = (t) => nearest(this.picture[this.hold.snap], t);
    if (slot) {
      const edge = grip === WHOLE ? win.outer[0] : edgesOf(win)[placeOf(win, grip)];
      const by = reach(win, grip, snapped(edge + this.t(event) - at) - edge, this.least);
      return this.move(slot, moved(win, grip, by));
    }
    this.hold.span = [snapped(at), snapped(this.t(event))].sort((a, b) => a - b);
    const [left, right] = this.hold.span.map((edge) => this.x(edge));
    this.ghost.style.cssText = `left:${left}px;width:${right - left}px;display:block`;
  }

  drop(isKept) {
    const { slot, span, snap, moved: isMoved } = this.hold ?? {};
    this.hold = null;
    this.ghost.style.display = "none";
    if (!isMoved) return;
    if (isKept && slot) this.save(slot, snap);
    else if (isKept) this.change({ do: "new", span, snap });
    else if (this.drafts.delete(slot)) this.place();
  }

  onKey(event) {
    const slot = event.target.closest("[data-slot]")?.dataset.slot;
    const grip = event.target.dataset.grip && Number(event.target.dataset.grip);
    const key = event.ctrlKey || event.metaKey ? `Ctrl+${event.key.toLowerCase()}` : event.key;
    const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[key];
    const pages = { PageUp: -1, PageDown: 1 }[key];
    const act = { "Ctrl+z": event.shiftKey ? "redo" : "undo", "Ctrl+y": "redo" }[key];
    if (key === "Escape" && this.hold) this.drop(false);
    else if (event.target.tagName === "INPUT") return key === "Enter" && [event.target.blur(), event.target.focus()];
    else if (act) this.change({ do: act });
    else if (grip === undefined) return;
    else if (step) {
      const [win, by] = [this.shown(slot), step * (event.shiftKey ? 10 : 1)];
      if (reach(win, grip, by, this.least) === by) [this.move(slot, moved(win, grip, by)), this.save(slot)];
      else this.refuse(`${slot} stays as it is: ${Math.abs(by)} s more would leave less than ${this.least} s of it`);
    } else if (key === "Delete" || key === "Enter") this.change({ do: key === "Enter" ? "take" : "delete", slot });
    else if (pages) {
      const names = [...this.windows.keys()].filter((name) => this.shown(name).outer);
      this.parts.get(names[names.indexOf(slot) + pages])?.grips[grip].focus();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  addRow(slot) {
    const value = (input) => (input.value === "" ? null : Number(input.value));
    const onchange = () => this.change({ do: "type", slot, edges: inputs.map(value) });
    const inputs = GRIPS.slice(0, WHOLE).map((name) =>
      focusable("input", { type: "number", step: "any", "aria-label": `${slot} ${name}, seconds`, onchange }));
    const acts = ["Take", "Delete"].map((name) =>
      button(`${name} ${slot}`, name, () => this.change({ do: name.toLowerCase(), slot })));
    const [figure, state] = [h("td", { class: "pk-number" }), h("td", { class: "pk-state" })];
    const pair = (from, to) => h("td", { class: "pk-pair" }, inputs[from], " – ", inputs[to]);
    const select = () => this.select(slot);
    const row = h("tr", { "data-slot": slot, onfocusin: select, onclick: select },
      h("th", { scope: "row" }, slot), pair(0, 3), pair(1, 2), figure, state, h("td", {}, ...acts));
    this.body.append(row);
    return { row, inputs, figure, state, acts };
  }

  fillRow(slot, known) {
    if (!this.rows.has(slot)) this.rows.set(slot, this.addRow(slot));
    const { row, inputs, state, acts } = this.rows.get(slot);
    const { outer, steady } = this.shown(slot);
    const edges = [outer?.[0], steady?.[0], steady?.[1], outer?.[1]];
    for (const [place, edge] of edges.entries())
      if (inputs[place] !== document.activeElement) inputs[place].value = edge === undefined ? "" : seconds(edge);
    row.classList.toggle("pk-selected", slot === this.selected);
    state.replaceChildren(known.by, ...known.doubts.map((doubt) => h("div", { class: "pk-doubt" }, `⚠ ${doubt}`)));
    [acts[0].hidden, acts[1].hidden] = [known.chosen || !known.outer, !known.chosen];
  }
}

export default { render: ({ model, el }) => new Picker(model, el.appendChild(h("div"))).close };
