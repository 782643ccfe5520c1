// The fleet as a grid: one cell a host, its state by letter and colour. Python sends one letter a
// host; the stop button asks once, here, and tells Python.

const NARROW_FROM = 150; // hosts; from here the cells are small
const ASKS_EVERY_MS = 1000;
const DEAF_AFTER_MS = 5000; // a kernel that has not answered by then is busy with the cell

function make(tag, attributes = {}, text = "") {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.textContent = text;
  return node;
}

function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  return `${Math.floor(s / 60)} min ${String(s % 60).padStart(2, "0")} s`;
}

function makeGrid(model, readout) {
  const looks = Object.fromEntries(model.get("looks").map((look) => [look[0], look]));
  const node = make("div", { class: "hosts", role: "listbox", "aria-label": "Hosts, by state" });
  let cells = [];
  let shown = "";
  let current = 0;

  const words = (place) => {
    const name = model.get("names")[place];
    const reason = model.get("reasons")[name];
    return `${name}: ${looks[shown[place]]?.[1] ?? "?"}${reason ? `, ${reason}` : ""}`;
  };
  const say = (place) => {
    if (cells[place]) readout.textContent = words(place);
  };
  const move = (place) => {
    const next = Math.min(Math.max(place, 0), cells.length - 1);
    cells[current]?.setAttribute("tabindex", "-1");
    current = next;
    cells[current].setAttribute("tabindex", "0");
    cells[current].focus();
  };
  const perRow = () => {
    const top = cells[0]?.offsetTop;
    const second = cells.findIndex((cell) => cell.offsetTop !== top);
    return second < 0 ? cells.length : second;
  };
  const steps = { ArrowRight: () => 1, ArrowLeft: () => -1, ArrowDown: perRow };
  node.addEventListener("keydown", (event) => {
    if (event.key === "ArrowUp") move(current - perRow());
    else if (event.key in steps) move(current + steps[event.key]());
    else if (event.key === "Home") move(0);
    else if (event.key === "End") move(cells.length - 1);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  const placeOf = (event) => cells.indexOf(event.target);
  node.addEventListener("focusin", (event) => {
    if (placeOf(event) >= 0) current = placeOf(event);
    say(placeOf(event));
  });
  node.addEventListener("mouseover", (event) => say(placeOf(event)));

  const draw = () => {
    const names = model.get("names");
    const states = model.get("states");
    if (names.length !== cells.length) {
      // On the element that has the focus, or JupyterLab takes its keys for its own.
      const fixed = { role: "option", tabindex: "-1", "data-lm-suppress-shortcuts": "true" };
      cells = names.map(() => make("span", fixed));
      cells[0]?.setAttribute("tabindex", "0");
      current = 0;
      node.classList.toggle("small", names.length >= NARROW_FROM);
      node.replaceChildren(...cells);
      shown = "";
    }
    const before = shown;
    shown = states;
    for (let place = 0; place < cells.length; place += 1) {
      if (before[place] === states[place]) continue;
      const [letter, state, colour, ink] = looks[states[place]] ?? ["?", "unknown", "#999", "#000"];
      const cell = cells[place];
      cell.textContent = letter;
      cell.className = state;
      cell.style.background = colour;
      cell.style.color = ink;
    }
    for (let place = 0; place < cells.length; place += 1) {
      const label = words(place);
      if (cells[place].title !== label) {
        cells[place].title = label;
        cells[place].setAttribute("aria-label", label);
      }
    }
    if (node.contains(document.activeElement)) say(current);
  };
  return { node, draw };
}

function makeStop(model) {
  const node = make("span", { class: "stop" });
  const keep = { type: "button", "data-lm-suppress-shortcuts": "true" };
  const ask = make("button", keep, "■ Stop…");
  const yes = make("button", { ...keep, class: "yes" }, "Stop and release all hosts");
  const no = make("button", keep, "Go on");
  const hint = make("span", { class: "hint", role: "status" });
  let asking = false;
  let deaf = false;
  const draw = () => {
    const stopping = model.get("stop_asked");
    node.hidden = !model.get("can_stop");
    ask.hidden = asking || stopping || deaf;
    yes.hidden = no.hidden = !asking || stopping;
    hint.textContent = stopping
      ? "Stopping; the hosts are being released."
      : deaf
        ? "To stop: interrupt the kernel (■ above), then run phases.release(session)."
        : "";
  };
  const show = (value) => {
    asking = value;
    draw();
    (asking ? yes : ask).focus();
  };
  ask.addEventListener("click", () => show(true));
  no.addEventListener("click", () => show(false));
  yes.addEventListener("click", () => {
    model.set("stop_asked", true);
    model.save_changes();
    draw();
  });
  node.addEventListener("keydown", (event) => event.key === "Escape" && asking && show(false));
  // Whether a click would be heard while the cell runs depends on the kernel: ask it, more than
  // once, since JupyterLab sends the first messages before it has a way past the running cell.
  const since = performance.now();
  const question = () => {
    deaf = performance.now() - since > DEAF_AFTER_MS;
    draw();
    model.send({ kind: "do you hear me" });
  };
  const timer = setInterval(question, ASKS_EVERY_MS);
  model.on("msg:custom", () => {
    clearInterval(timer);
    deaf = false;
    draw();
  });
  model.send({ kind: "do you hear me" });
  node.append(ask, yes, no, hint);
  return { node, draw, end: () => clearInterval(timer) };
}

function render({ model, el }) {
  const root = make("div", { class: "perfkit-fleet" });
  const head = make("div", { class: "head" });
  const stage = make("b");
  const note = make("span", { class: "note" });
  const time = make("span", { class: "time" });
  const counts = make("div", { class: "counts" });
  const readout = make("div", { class: "readout", "aria-live": "polite" }, " ");
  const grid = makeGrid(model, readout);
  const stop = makeStop(model);
  head.append(stage, time, note, stop.node);
  root.append(head, counts, grid.node, readout);
  el.append(root);

  let heardAt = performance.now();
  const tick = () => {
    const passed = model.get("live") ? (performance.now() - heardAt) / 1000 : 0;
    const expected = model.get("expected_s");
    const about = expected > 0 ? ` of about ${duration(expected)}` : "";
    time.textContent = `${duration(model.get("elapsed_s") + passed)}${about}`;
  };
  const drawCounts = () => {
    const states = model.get("states");
    const parts = model.get("looks").flatMap(([letter, state, colour, ink]) => {
      const count = states.split(letter).length - 1;
      if (!count) return [];
      const part = make("span", { class: "count" });
      const key = make("span", { class: `key ${state}` }, letter);
      key.style.background = colour;
      key.style.color = ink;
      part.append(key, make("span", {}, ` ${count} ${state}`));
      return [part];
    });
    counts.replaceChildren(...parts);
  };
  const draw = () => {
    heardAt = performance.now();
    stage.textContent = model.get("stage");
    note.textContent = model.get("note");
    drawCounts();
    grid.draw();
    stop.draw();
    tick();
  };
  draw();
  model.on("change", draw);
  const timer = setInterval(tick, 1000);
  return () => {
    clearInterval(timer);
    stop.end();
  };
}

export default { render };
