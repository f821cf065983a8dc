// Draws the transcript: one paragraph a turn, its tokens below. Text enters as textContent only, so
// nothing that a person or a model writes can become markup. What did not change is left alone, so
// that one can select text in old turns while a new one streams, and a token costs one chip.
const log = element.querySelector(".turns");
const legend = element.querySelector(".legend");
const turns = [];
const turnOf = new WeakMap();
const opened = new Set();
let value = "";
let focus = null;
let settings = { strips: true, colouring: "raw" };
try {
  settings = { ...settings, ...JSON.parse(localStorage.getItem("gpt2lab strips") || "{}") };
} catch { /* a page in a sandbox has no storage */ }
if (!COLOURINGS[settings.colouring]) settings.colouring = "raw";

const turnAt = (node) => turnOf.get(node.closest(".turn"));
const isOpen = (turn) =>
  turn.head.author === "model" ? settings.strips : opened.has(turn.head.passage);

const newTurn = () => {
  const node = make("div", "turn");
  const tools = make("div", "tools");
  const body = make("div", "body");
  const text = make("p", "text");
  const facts = make("div", "facts");
  text.dir = "auto";
  text.append("");
  body.append(text, facts);
  node.append(make("span", "who"), tools, body);
  const turn = { node, tools, body, text, facts, strip: null };
  turnOf.set(node, turn);
  return emptied(turn);
};
const emptied = (turn) => {
  turn.strip?.remove();
  turn.form?.remove();
  turn.text.hidden = false;
  turn.text.firstChild.data = "";
  return Object.assign(turn, {
    lines: [], tokens: [], read: 0, head: null, end: null, strip: null, form: null,
    decoder: new TextDecoder(), spelled: "",
  });
};

const ENDINGS = {
  length: "the length asked for is reached",
  eos: "the model ended the text",
  stop: "a stop string appeared",
};
const factsOf = ({ head, end }) => {
  if (!end || head.author !== "model") return "";
  const facts = [`${count(end.count)} ${end.count === 1 ? "token" : "tokens"}`];
  if (end.total !== null) {
    const mean = minus(end.mean.toFixed(2));
    facts.push(`log-probability ${minus(end.total.toFixed(1))}, ${mean} a token`);
  }
  const distinct = end.distinct.filter((one) => one !== null).map((one) => one.toFixed(2));
  if (distinct.length) facts.push(`distinct-1 ${distinct[0]}`);
  if (distinct.length > 1) facts.push(`distinct-2 ${distinct[1]}`);
  if (end.left) facts.push(`${count(end.left)} more on another branch`);
  else if (ENDINGS[end.reason]) facts.push(ENDINGS[end.reason]);
  return facts.join(" · ");
};
const write = (node, text) => {
  if (node.textContent !== text) node.textContent = text;
};

const drawTools = (turn) => {
  const { author, row, active } = turn.head;
  const wanted = ["edit"];
  if (author === "you") wanted.push("tokens");
  if (author === "model" && turn.end && turn.tokens.length && !turn.tokens.some((one) => one.known))
    wanted.push("numbers");
  if (row !== null && !active) wanted.push("go on with this one");
  if (!turn.end) wanted.length = 0;
  if (turn.tools.dataset.wanted === wanted.join()) return;
  turn.tools.dataset.wanted = wanted.join();
  turn.tools.replaceChildren(...wanted.map((title) => button("tool", title, title)));
};
// A chat's answer ends where the next line's beginning appears. That is no part of it; so what may
// become it is not shown before it is clear that it does not.
const withoutBegun = (text, stop) => {
  for (let length = stop.length; length > 0; length--)
    if (text.endsWith(stop.slice(0, length))) return text.slice(0, -length);
  return text;
};
const drawStrip = (turn) => {
  const open = isOpen(turn);
  const toggle = turn.tools.querySelector("[data-action=tokens]");
  toggle?.setAttribute("aria-expanded", String(open));
  if (turn.strip) turn.strip.hidden = !open;
  if (!open || !turn.tokens.length) return;
  if (!turn.strip) {
    turn.strip = newStrip(`Tokens of turn ${turns.indexOf(turn) + 1}, ${turn.head.who}`);
    turn.text.after(turn.strip);
  }
  addChips(turn.strip, turn.tokens, turn.head.forced, settings.colouring);
};
const drawTurn = (turn, before) => {
  const { head, end, node, text } = turn;
  const sample = head.row !== null;
  const follows = !sample && before && before.head.author === head.author ? " follows" : "";
  const place = sample ? ` sample${head.active ? " active" : ""}` : follows;
  node.className = `turn ${head.author}${place}`;
  if (sample && head.active) node.setAttribute("aria-current", "true");
  else node.removeAttribute("aria-current");
  write(node.firstChild, head.who);
  text.className = end?.note ? "note" : "text";
  const news = turn.tokens.slice(turn.read);
  turn.read = turn.tokens.length;
  if (end) {
    if (text.firstChild.data !== end.text) text.firstChild.data = end.text;
  } else if (news.length) {
    const parts = news.map((one) => turn.decoder.decode(bytesOf(one.hex), { stream: true }));
    turn.spelled += parts.join("");
    // Only appended to, the text can be selected while it grows; what is shown never shrinks.
    const clear = withoutBegun(turn.spelled, head.stop);
    text.firstChild.appendData(clear.slice(text.firstChild.length));
  }
  drawTools(turn);
  drawStrip(turn);
  write(turn.facts, factsOf(turn));
  if (turn.form?.sent) closeForm(turn);
};
const drawFocus = () => {
  for (const chip of log.querySelectorAll(".chip[aria-current]")) {
    chip.removeAttribute("aria-current");
    chip.setAttribute("aria-selected", "false");
  }
  const turn = focus && turns.find((one) => one.head.passage === focus[0]);
  const chip = turn?.strip?.chips[focus[1]];
  chip?.setAttribute("aria-current", "true");
  chip?.setAttribute("aria-selected", "true");
};

// The turns in their order; samples stand side by side in a box of their own behind the others.
const samples = make("div", "samples");
samples.setAttribute("role", "group");
samples.setAttribute("aria-label", "Samples");
const arrange = (box, nodes) =>
  nodes.forEach((node, at) => {
    if (box.children[at] !== node) box.insertBefore(node, box.children[at] || null);
  });
const arrangeTurns = () => {
  const alone = turns.filter((turn) => turn.head.row === null).map((turn) => turn.node);
  const together = turns.filter((turn) => turn.head.row !== null).map((turn) => turn.node);
  arrange(samples, together);
  if (together.length) arrange(log, [...alone, samples]);
  else {
    samples.remove();
    arrange(log, alone);
  }
};

const append = (text) => {
  const changed = new Set();
  let moved = false;
  for (const line of text.split("\n")) {
    if (!line) continue;
    if (line[0] === "[") {
      const turn = turns[parseInt(line.slice(1), 10)];
      turn.lines.push(line);
      turn.tokens.push(tokenOf(line));
      changed.add(turn);
      continue;
    }
    const record = JSON.parse(line);
    if (record.focus) focus = record.focus;
    else if (record.end !== undefined) {
      turns[record.end].end = record;
      changed.add(turns[record.end]);
    } else {
      const turn = (turns[record.turn] ??= newTurn());
      focus = null; // Another text: no token of it has been picked yet.
      turn.head = record;
      changed.add(turn);
      moved = true;
    }
  }
  if (moved) arrangeTurns();
  for (const turn of changed) drawTurn(turn, turns[turns.indexOf(turn) - 1]);
  drawFocus();
};

// Another string than the former one and more: turns that begin as before are kept as they are.
const redraw = (text) => {
  const lines = text.split("\n").filter(Boolean);
  const heads = [];
  const tokens = [];
  for (const line of lines) {
    if (line[0] === "[") tokens[parseInt(line.slice(1), 10)].push(line);
    else if (line.startsWith('{"turn"')) {
      const head = JSON.parse(line);
      heads[head.turn] = head;
      tokens[head.turn] = [];
    }
  }
  turns.splice(heads.length).forEach((turn) => turn.node.remove());
  turns.forEach((turn, index) => {
    const same =
      turn.head.passage === heads[index].passage &&
      turn.head.forced === heads[index].forced &&
      turn.lines.length <= tokens[index].length &&
      turn.lines.every((line, at) => line === tokens[index][at]);
    if (!same) emptied(turn);
    turn.end = null;
  });
  const skip = turns.map((turn) => turn.lines.length);
  const rest = lines.filter((line) => {
    if (line[0] !== "[") return true;
    const at = parseInt(line.slice(1), 10);
    return !(skip[at]-- > 0);
  });
  append(rest.join("\n"));
  if (!turns.length) arrangeTurns();
};

// When an answer begins, whoever sent the prompt should see it, and what stands below it.
let growing = false;
const STATUS = 84; // pixels
const bringIntoView = () => {
  const covered = document.getElementById("writer")?.offsetHeight || 0;
  log.style.scrollMarginBottom = `${covered + STATUS}px`;
  log.scrollIntoView({ block: "nearest" });
};

const draw = () => {
  const text = props.value || "";
  if (text === value) return;
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  if (value && text.startsWith(value)) append(text.slice(value.length));
  else redraw(text);
  value = text;
  if (atEnd) log.scrollTop = log.scrollHeight;
  const now = turns.some((turn) => !turn.end);
  if (now && !growing) bringIntoView();
  growing = now;
  if (looked.chip) place();
};

const openForm = (turn) => {
  if (turn.form) return;
  const form = make("div", "form");
  const area = make("textarea");
  area.value = turn.end.note ? "" : turn.end.text;
  area.dir = "auto";
  area.rows = Math.min(12, 2 + area.value.length / 90 + area.value.split("\n").length);
  area.setAttribute("aria-label", "The text of this turn");
  const row = make("div", "buttons");
  row.append(
    button("", "Generate from here", "generate"),
    button("", "Keep what follows", "keep"),
    button("", "Cancel", "cancel"),
  );
  form.append(area, row);
  turn.form = form;
  turn.text.hidden = true;
  turn.text.before(form);
  area.focus();
};
const closeForm = (turn) => {
  turn.form?.remove();
  turn.form = null;
  turn.text.hidden = false;
};
const submitForm = (turn, follow) => {
  const text = turn.form.querySelector("textarea").value;
  // It is closed when the answer comes: if the edit is refused, nothing is lost.
  turn.form.sent = true;
  trigger("submit", { action: "edit", passage: turn.head.passage, text, follow });
};
