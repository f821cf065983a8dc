// Two columns of tokens, queries on the left and keys on the right, with lines as strong as the weights.
// A long text scrolls: only what is in view is drawn.
const ROW = 19;
const lineBox = make("div", "lines");
lineBox.tabIndex = 0;
lineBox.setAttribute("role", "img");
lineBox.setAttribute(
  "aria-label",
  "Lines from each query, on the left, to the keys that it looks at, on the right. " +
    "The up and down keys move over the queries, Enter looks at one.",
);
const lineCanvas = canvas("");
const spacer = make("div", "");
const columnNames = make("div", "columns");
columnNames.append(make("span", "", "query, looks at"), make("span", "", "key"));
lineBox.append(lineCanvas, spacer);
const lineView = make("div", "line-view");
lineView.append(columnNames, lineBox);

const paintLines = () => {
  const first = data.first_drawn;
  const count = data.ids.length - first;
  const width = Math.min(stage.clientWidth - 4, 640);
  const height = Math.min(count * ROW, 64 * ROW, Math.max(300, innerHeight - 160));
  lineView.style.width = lineBox.style.width = `${width}px`;
  lineBox.style.height = `${height + 2}px`;
  spacer.style.height = `${count * ROW - height}px`;
  const pen = sized(lineCanvas, width - 18, height);
  const left = width < 500 ? 110 : 150;
  const right = width - 18 - left;
  columnNames.firstChild.style.width = `${left}px`;
  columnNames.lastChild.style.width = `${left + 18}px`;
  const top = lineBox.scrollTop;
  const y = (at) => (at - first + 0.5) * ROW - top;
  const [accent, ink] = [colour("--color-accent"), colour("color")];
  const from = first + Math.floor(top / ROW);
  const until = Math.min(first + count, from + Math.ceil(height / ROW) + 1);
  const only = cursor?.query ?? null;
  const onlyKey = only === null ? (cursor?.key ?? null) : null;
  pen.strokeStyle = accent;
  pen.lineWidth = only === null && onlyKey === null ? 1.5 : 2.5;
  for (let query = only ?? from; query < (only === null ? until : only + 1); query++)
    for (let key = onlyKey ?? first; key < (onlyKey === null ? query + 1 : onlyKey + 1); key++) {
      const strength = share(weight(query, key));
      if (strength < 0.01) continue;
      pen.globalAlpha = Math.min(1, strength);
      pen.beginPath();
      pen.moveTo(left, y(query));
      pen.lineTo(right, y(key));
      pen.stroke();
    }
  pen.globalAlpha = 1;
  for (let at = from; at < until; at++) {
    const strength = only === null ? 0 : share(weight(only, at));
    if (only !== null && strength >= 0.01) {
      pen.fillStyle = viridis(strength);
      pen.fillRect(right + 2, y(at) - ROW / 2 + 1, left - 2, ROW - 2);
    }
    const text = fitted(pen, token(at), left - 10);
    pen.fillStyle = only !== null && strength >= 0.01 ? inkOn(strength) : ink;
    pen.textAlign = "left";
    pen.fillText(text, right + 5, y(at));
    pen.fillStyle = at === position || at === only ? accent : ink;
    pen.textAlign = "right";
    pen.fillText(at === position ? fitted(pen, `▸ ${token(at)}`, left - 6) : text, left - 5, y(at));
  }
};
const tokenAt = (event) => {
  const box = lineBox.getBoundingClientRect();
  const offset = event.clientY - box.top + lineBox.scrollTop;
  const at = between(data.first_drawn, data.first_drawn + Math.floor(offset / ROW), data.ids.length - 1);
  const onKeys = event.clientX - box.left > box.width / 2;
  return onKeys ? { query: null, key: at } : { query: at, key: null };
};
const pointOnLines = (event) => {
  if (atRest(event)) return;
  pointAt(tokenAt(event), null);
  paintLines();
};
lineBox.addEventListener("scroll", paintLines);
lineBox.addEventListener("pointermove", pointOnLines);
lineBox.addEventListener("pointerdown", pointOnLines);
lineBox.addEventListener("click", () => look(cursor?.query ?? cursor?.key ?? position));
lineBox.addEventListener("keydown", (event) => {
  const at = cursor?.query ?? position;
  if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    look(at);
  } else if (STEPS[event.key]?.[0] || event.key === "Home" || event.key === "End") {
    event.preventDefault();
    keyed = Date.now();
    const by = STEPS[event.key][0] || STEPS[event.key][1];
    const next = between(data.first_drawn, at + by, data.ids.length - 1);
    const y = (next - data.first_drawn) * ROW;
    if (y < lineBox.scrollTop || y + ROW > lineBox.scrollTop + lineBox.clientHeight)
      lineBox.scrollTop = y - lineBox.clientHeight / 2;
    pointAt({ query: next, key: null }, null);
    paintLines();
  }
});
