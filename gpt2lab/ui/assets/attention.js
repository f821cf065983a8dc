// One head's attention, to point at: as a map, as lines between two columns of tokens, or as the row
// of one query over the text. The first map comes with the drawing, the layer's other heads are
// fetched in the background, so that going through them asks nobody. inspections/attention.py says
// what `data` is. This part has the numbers and the frame around the three views; it is followed, in
// one scope with chips.js and canvas.js, by attention_map.js, attention_lines.js, attention_row.js
// and attention_heads.js, which puts them together.
const LOWEST = 1e-5; // where the logarithmic scale begins, as in attention_figure.py
const LABELLED = 11; // pixels of a cell that has room for a label
const VIEWS = ["map", "lines", "row"];
const REMEMBERED = "gpt2lab.attention.view";
const FONT = "11px ui-monospace, monospace";

let data = null; // what the server drew last
let head = 0; // what is on screen; the server follows
let position = 0;
let cursor = null; // {query, key}: what is pointed at
let painted = ""; // what the picture shows, so that the same is not painted again
let view = "map";
try {
  view = VIEWS.find((one) => one === localStorage.getItem(REMEMBERED)) || "map";
} catch {} // Storage may be forbidden.

// --- the numbers ----------------------------------------------------------------------------------

let layerKey = ""; // text, layer and average that `maps` belong to
const maps = new Map(); // by head: {raw: lower triangle, left: what each row has without its first key}

const unpacked = (text) => {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let at = 0; at < bytes.length; at++) bytes[at] = binary.charCodeAt(at);
  return new Float32Array(bytes.buffer);
};
const withLeft = (raw, count) => {
  const left = new Float64Array(count);
  for (let query = 0; query < count; query++) {
    const start = (query * (query + 1)) / 2;
    for (let key = 1; key <= query; key++) left[query] += raw[start + key];
  }
  return { raw, left };
};
const weight = (query, key) => {
  if (key > query) return 0;
  const { raw, left } = maps.get(head);
  const one = raw[(query * (query + 1)) / 2 + key];
  if (!data.hide_first) return one;
  return key && left[query] > 0 ? Math.fround(one / left[query]) : 0;
};
const hidden = (query) => maps.get(head).raw[(query * (query + 1)) / 2];
const share = (one) =>
  data.log_scale ? (one > 0 ? Math.max(0, 1 - Math.log10(one) / Math.log10(LOWEST)) : 0) : one;
const digits = (one) => (one === 0 ? "0" : one.toPrecision(4));
const strongest = (query, most) =>
  Array.from({ length: query + 1 }, (_, key) => key)
    .sort((a, b) => weight(query, b) - weight(query, a))
    .slice(0, most)
    .filter((key) => weight(query, key) > 0);

// --- what is said ---------------------------------------------------------------------------------

const token = (at) => `${at} ${data.shown[at]}`;
const said = ({ query, key }) => {
  if (key === null) {
    const keys = strongest(query, 5).map((one) => `${token(one)} ${digits(weight(query, one))}`);
    return [`query ${token(query)} looks at`, ...(keys.length ? keys : ["nothing that is not hidden"])];
  }
  if (query === null) return [`key ${token(key)}: the lines are those that look at it`];
  const arrow = `query ${token(query)} → key ${token(key)}`;
  if (key > query) return [arrow, "no token sees a later one"];
  if (data.hide_first && key === 0) return [arrow, `hidden, its weight is ${digits(hidden(query))}`];
  return [arrow, `weight ${digits(weight(query, key))}`];
};
const title = () => {
  const names = {
    "one head": `layer ${data.layer}, head ${head}`,
    "heads of the layer": `layer ${data.layer}, mean of its ${data.heads} heads`,
    "all layers": `mean of all ${data.layers} layers, ${data.heads} heads each`,
  };
  const parts = [names[data.average]];
  const count = data.ids.length;
  if (data.first_drawn) parts.push(`the last ${count - data.first_drawn} of ${count} tokens`);
  if (data.hide_first) {
    let all = 0;
    for (let query = 0; query < count; query++) all += hidden(query);
    parts.push(
      `first key hidden: it had ${digits(hidden(position))} of query ${token(position)}, ` +
        `${digits(all / count)} of a query on average; query 0 sees nothing else`,
    );
  }
  return parts.join("; ");
};

// --- the frame around the three views -------------------------------------------------------------

const choice = (label, names) => {
  const group = make("div", "choice");
  group.setAttribute("role", "group");
  group.setAttribute("aria-label", label);
  group.append(make("span", "", label), ...names.map((name) => button("", name, name)));
  return group;
};
const press = (group, name) => {
  for (const one of group.querySelectorAll("button"))
    one.setAttribute("aria-pressed", String(one.dataset.action === String(name)));
};
const frame = make("div", "attention");
const bar = make("div", "bar");
const views = choice("view", VIEWS);
let headButtons = choice("head", []);
const heading = make("div", "heading");
const read = make("div", "read");
read.setAttribute("aria-live", "polite");
const body = make("div", "body");
const legend = make("div", "legend");
const help = make("div", "help");
const problem = make("div", "problem");
bar.append(views, headButtons);
frame.append(bar, heading, read, body, legend, help, problem);

const canvas = (className) => make("canvas", className);
// An empty canvas of so many pixels of the page, whatever the screen has of them.
const sized = (one, width, height) => {
  const sharp = window.devicePixelRatio || 1;
  const [across, down] = [Math.round(width * sharp), Math.round(height * sharp)];
  if (one.width !== across || one.height !== down) {
    Object.assign(one, { width: across, height: down });
    one.style.width = `${width}px`;
    one.style.height = `${height}px`;
  }
  const pen = one.getContext("2d");
  pen.setTransform(sharp, 0, 0, sharp, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.globalAlpha = 1;
  pen.font = FONT;
  pen.textBaseline = "middle";
  return pen;
};
const colour = (name) => getComputedStyle(frame).getPropertyValue(name).trim();
const fitted = (pen, text, room) => {
  if (pen.measureText(text).width <= room) return text;
  const letters = [...text];
  while (letters.length && pen.measureText(`${letters.join("")}…`).width > room) letters.pop();
  return `${letters.join("")}…`;
};

let tipAt = null;
const pointAt = (next, box) => {
  cursor = next;
  tipAt = box;
  const lines = said(cursor);
  read.textContent = lines.join(", ").replace("looks at,", "looks at");
  if (box) {
    const more = view === "map" && cursor.key <= cursor.query ? lens() : null;
    showTip(more ? [...lines, more] : lines, box.x, box.y);
  }
};
// The arrow keys move what is pointed at.
const STEPS = {
  ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1],
  PageUp: [-10, 0], PageDown: [10, 0], Home: [0, -Infinity], End: [0, Infinity],
};
// When keys scroll the page, it moves below a pointer at rest: that is no pointing.
let keyed = 0;
const atRest = (event) => event.type !== "pointerdown" && Date.now() - keyed < 500; // milliseconds
const between = (low, one, high) => Math.max(low, Math.min(high, one));
const look = (query) => {
  position = query;
  ask({ position: query }, 0);
  render();
};
