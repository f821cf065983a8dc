// Draws what the model would read, and its most probable next tokens. Text enters as textContent.
const make = (name, className, text) => {
  const node = document.createElement(name);
  node.className = className;
  node.textContent = text;
  return node;
};
const percent = (share) => (100 * share).toPrecision(3) + " %";

const drawPeek = (root, { candidates, refusal }) => {
  root.replaceChildren();
  if (refusal) root.append(make("p", "refusal", refusal));
  for (const { id, shown, raw, processed } of candidates || []) {
    const row = make("div", "candidate", "");
    const bar = make("span", "bar", "");
    bar.style.width = 100 * raw + "%";
    row.append(make("span", "token", shown), make("span", "share", percent(raw)), bar);
    row.title = `id ${id}; ${percent(raw)} before and ${percent(processed)} after the processors`;
    row.classList.toggle("impossible", processed === 0);
    root.append(row);
  }
};

const drawSeen = (root, { count, limit, dropped, cut, text, refusal }) => {
  const [summary, paragraph] = root.children;
  const number = (value) => value.toLocaleString("en");
  summary.textContent = refusal
    ? "What the model sees: " + refusal
    : `What the model sees: ${number(count)} of ${number(limit)} tokens` +
      (dropped ? `; the oldest ${number(dropped)} are cut off to make room` : "");
  paragraph.replaceChildren();
  if (refusal) return;
  if (dropped) {
    paragraph.append(make("del", "cut", "… " + cut), make("span", "line", "✂ cut here"));
  }
  paragraph.append(make("span", "read", text));
};

const draw = () => {
  if (!props.value) return;
  const value = JSON.parse(props.value);
  const panel = element.querySelector("details.seen");
  if (panel) drawSeen(panel, value);
  else drawPeek(element.querySelector(".peek"), value);
};
watch("value", draw);
draw();
