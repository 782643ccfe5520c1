// A form over a notebook's variables: native HTML fields, so that labels, the tab key, screen
// readers and browsers do what people expect of them. Python decides what is right and what is said.

const PAUSE_MS = 200; // between a key and the check of what was typed

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// JupyterLab takes keys from whatever is focused (b, x, d d change the notebook), unless that
// very element says no.
function keepKeys(node) {
  node.dataset.lmSuppressShortcuts = "true";
  return node;
}

// Each kind of field: its node, the control that is focused, how it is read and written.
const KINDS = {
  text(field, id) {
    const input = keepKeys(make("input", { type: "text", id, spellcheck: "false" }));
    if (field.kind === "number") input.inputMode = "decimal";
    const nodes = [input];
    if (field.choices.length) {
      input.setAttribute("list", `${id}-list`);
      const options = field.choices.map(([value, label]) => make("option", { value }, label));
      nodes.push(make("datalist", { id: `${id}-list` }, ...options));
    }
    return { nodes, control: input, read: () => input.value, write: (v) => (input.value = v) };
  },
  choice(field, id) {
    const options = field.choices.map(([value, label]) => make("option", { value }, label));
    const select = keepKeys(make("select", { id }, ...options));
    const write = (value) => {
      if (!field.choices.some(([known]) => known === value)) select.prepend(make("option", { value }, value));
      select.value = value;
    };
    return { nodes: [select], control: select, read: () => select.value, write };
  },
  flag(field, id) {
    const box = keepKeys(make("input", { type: "checkbox", id }));
    return { nodes: [box], control: box, read: () => box.checked, write: (v) => (box.checked = v === true) };
  },
  many(field, id) {
    const boxes = field.choices.map(([value], n) => keepKeys(make("input", { type: "checkbox", id: `${id}-${n}`, value })));
    const lines = field.choices.map(([, label], n) => make("label", { for: `${id}-${n}` }, boxes[n], ` ${label}`));
    const group = make("div", { id, role: "group", "aria-labelledby": `${id}-label` }, ...lines);
    const read = () => {
      const chosen = boxes.filter((box) => box.checked).map((box) => box.value);
      return chosen.join() === field.all_of.join() ? "all" : chosen.join(",");
    };
    const write = (value) => {
      const chosen = value.trim() === "all" ? field.all_of : value.split(",").map((word) => word.trim());
      for (const box of boxes) box.checked = chosen.includes(box.value);
    };
    return { nodes: [group], control: group, read, write };
  },
};

function row(field, id) {
  const made = (KINDS[field.kind] ?? KINDS.text)(field, id);
  const help = make("span", { class: "help", id: `${id}-help` }, field.help);
  const error = make("span", { class: "error", id: `${id}-error`, role: "alert" });
  const label = make(field.kind === "many" ? "span" : "label", { class: "label", id: `${id}-label` }, field.label);
  if (field.kind !== "many") label.setAttribute("for", id);
  made.control.setAttribute("aria-describedby", `${id}-help ${id}-error`);
  made.node = make("div", { class: "row" }, label, make("div", { class: "value" }, ...made.nodes), make("div", { class: "words" }, help, error));
  made.say = (text) => {
    if (error.textContent !== text) error.textContent = text;
    made.control.setAttribute("aria-invalid", text ? "true" : "false");
    made.node.classList.toggle("wrong", Boolean(text));
  };
  return made;
}

function render({ model, el }) {
  // Each notebook has loaded this file for itself, and all of them share one page.
  const prefix = `perfkit-form-${Math.random().toString(36).slice(2)}`;
  const rows = new Map();
  const more = make("details", {}, keepKeys(make("summary", {}, "More settings")));
  const form = make("form", { class: "perfkit-form", "aria-label": model.get("title") });
  const summary = make("div", { class: "summary", role: "status" });
  for (const field of model.get("fields")) {
    const made = row(field, `${prefix}-${field.name}`);
    rows.set(field.name, made);
    (field.advanced ? more : form).append(made.node);
  }
  if (more.childElementCount > 1) form.append(more);
  form.append(summary);
  el.append(form);

  let timer = null;
  const send = () => {
    clearTimeout(timer);
    const values = Object.fromEntries([...rows].map(([name, made]) => [name, made.read()]));
    if (JSON.stringify(values) === JSON.stringify(model.get("values"))) return;
    model.set("values", values);
    model.save_changes();
  };
  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(send, PAUSE_MS);
  });
  form.addEventListener("change", send); // leaving a field: at once, before any cell can be run
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });

  const showValues = () => {
    const values = model.get("values");
    for (const [name, made] of rows) if (made.read() !== values[name]) made.write(values[name]);
  };
  const showVerdict = () => {
    const errors = model.get("errors");
    for (const [name, made] of rows) {
      made.say(errors[name] ?? "");
      if (errors[name] && more.contains(made.node)) more.open = true;
    }
    summary.replaceChildren(...model.get("summary").map((line) => make("p", {}, line)));
    summary.classList.toggle("wrong", Object.keys(errors).length > 0);
  };
  showValues();
  showVerdict();
  // What is being typed is never written over: Python sends values only when a variable was
  // changed by another cell.
  model.on("change:values", showValues);
  model.on("change:errors", showVerdict);
  model.on("change:summary", showVerdict);
  return () => clearTimeout(timer);
}

export default { render };
