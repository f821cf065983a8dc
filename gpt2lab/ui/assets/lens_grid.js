// The lens grid: a table of tokens, a row for each layer, a column for each position of the window.
// Shares one scope with chips.js and canvas.js; `data` is what lens_grid.interactive gives.
let grid = null; // {data, cells: [layer][column]}
let at = null; // the cell that has, or last had, the keyboard: {layer, position}

// A token that is written from right to left must not reorder the line that it stands in.
const isolated = (text) => `\u2068${text}\u2069`;
const ofDigits = (number, digits = 3) => minus(number.toFixed(digits));
const shareOf = (data, layer, column, logit) => Math.exp(logit - data.totals[layer][column]);
const placeOf = (cell) => ({
  layer: Number(cell.dataset.layer),
  position: Number(cell.dataset.position),
});

const layerName = (layer) => {
  const end = { 0: ", the embedding", [grid.data.layers.length - 1]: ", the output" }[layer];
  return `layer ${layer}${end ?? ""}`;
};

// What is said about a cell, a line each.
const told = ({ layer, position }) => {
  const { data } = grid;
  const column = position - data.start;
  const share = (logit) => percent(shareOf(data, layer, column, logit));
  const ids = data.ids[layer][column];
  const logits = data.logits[layer][column];
  const total = data.totals[layer][column];
  const named = (id) => isolated(data.shown[id]);
  return [
    `${named(ids[0])} · id ${ids[0]}`,
    `${layerName(layer)}; behind position ${count(position)}, ${isolated(data.text[column])}`,
    `p = exp(z) / Σ = exp(${ofDigits(logits[0])}) / exp(${ofDigits(total)}) = ${share(logits[0])}`,
    `followed: ${named(data.followed[column])} · rank ${count(data.ranks[layer][column])}` +
      ` · ${share(data.followedLogits[layer][column])}`,
    `entropy ${ofDigits(data.entropies[layer][column], 2)} bits` +
      ` · ${ofDigits(data.divergences[layer][column], 2)} bits from the output`,
    ...ids.map((id, place) => `${place + 1}.  ${named(id)}  ${share(logits[place])}`),
  ];
};

const cellOf = (data, layer, column) => {
  const position = data.start + column;
  const id = data.ids[layer][column][0];
  const share = data.shares[layer][column];
  const cell = make("td", "cell", data.shown[id]);
  cell.dataset.layer = layer;
  cell.dataset.position = position;
  cell.tabIndex = -1;
  cell.style.background = viridis(share);
  cell.style.color = inkOn(share);
  cell.classList.toggle("framed", id === data.followed[column]);
  cell.classList.toggle("here", position === data.position);
  cell.setAttribute("role", "gridcell");
  cell.setAttribute(
    "aria-label",
    `${isolated(data.shown[id])}, ${layerName(layer)}, behind position ${position}, ` +
      `${percent(shareOf(data, layer, column, data.logits[layer][column][0]))}`,
  );
  return cell;
};

const tableOf = (data) => {
  const table = make("table", "layers");
  table.setAttribute("role", "grid");
  table.setAttribute("aria-label", "Most probable token, by layer (rows) and position (columns)");
  table.style.setProperty("--columns", data.text.length);
  const head = table.createTHead().insertRow();
  head.append(make("th", "layer", "layer"));
  data.text.forEach((token, column) => {
    const position = data.start + column;
    const name = make("th", position === data.position ? "here" : "");
    name.scope = "col";
    name.append(make("div", "position", count(position)), make("div", "token", token));
    name.title = token;
    head.append(name);
  });
  const body = table.createTBody();
  const cells = data.layers.map((shown, layer) => {
    const row = body.insertRow();
    const name = make("th", "layer", shown);
    name.scope = "row";
    const made = data.text.map((_, column) => cellOf(data, layer, column));
    row.append(name, ...made);
    return made;
  });
  return { table, cells };
};

const legendOf = ({ scale }) => {
  const legend = make("div", "scale");
  const bar = make("div", "bar");
  const colours = [0, 0.25, 0.5, 0.75, 1].map(viridis);
  bar.style.background = `linear-gradient(to right, ${colours.join()})`;
  for (const [place, text] of scale.ticks) {
    const tick = make("span", "", text);
    tick.style.left = `${100 * place}%`;
    bar.append(tick);
  }
  legend.append(make("span", "", scale.title), bar);
  return legend;
};

// Earlier and later positions, and the column that is looked at in the tab that has more of it.
const toolsOf = (data) => {
  const tools = make("div", "tools");
  const last = data.start + data.text.length - 1;
  const move = (text, by) => {
    const way = button("", text, "move");
    const target = Math.max(0, Math.min(data.length - 1, data.position + by));
    way.disabled = by < 0 ? data.start === 0 : last === data.length - 1;
    way.addEventListener("click", () => choose({ position: target }));
    return way;
  };
  const open = button("", `Open position ${count(data.position)} in Logit lens`, "open");
  open.addEventListener("click", () => openColumn(data.position));
  if (data.length > data.text.length)
    tools.append(move("◀ earlier", -data.move), move("later ▶", data.move));
  tools.append(open, make("span", "facts", data.facts));
  return tools;
};
const openColumn = (position) => choose({ tab: "logit_lens", position });

const cellAt = ({ layer, position }) => grid.cells[layer]?.[position - grid.data.start];
// Only one cell can be reached with Tab; the arrows lead from it to the others.
const reach = (cell) => {
  for (const one of grid.cells.flat()) one.tabIndex = one === cell ? 0 : -1;
  at = placeOf(cell);
};
// Only the table scrolls: the page stays where the reader is.
const reveal = (scroller, cell) => {
  const fixed = scroller.querySelector("th.layer").getBoundingClientRect().right;
  const { left, right } = cell.getBoundingClientRect();
  const box = scroller.getBoundingClientRect();
  if (left < fixed) scroller.scrollLeft += left - fixed - 4;
  else if (right > box.right) scroller.scrollLeft += right - box.right + 4;
};

const draw = (data) => {
  const focused = stage.contains(document.activeElement) && document.activeElement;
  const scrolled = stage.querySelector(".scroll")?.scrollLeft ?? 0;
  const pressed = focused && focused.dataset.action;
  hideTip();
  grid = { data, cells: [] };
  const { table, cells } = tableOf(data);
  grid.cells = cells;
  const scroller = make("div", "scroll");
  scroller.append(table);
  const formula = make("div", "formula", data.formula);
  stage.replaceChildren(legendOf(data), toolsOf(data), scroller, formula);
  scroller.scrollLeft = scrolled;
  const known = at && cellAt(at);
  const start = known && at.position === data.position ? known : cellAt({ layer: cells.length - 1, position: data.position });
  reach(start);
  reveal(scroller, start);
  if (focused && focused.matches(".cell")) start.focus({ preventScroll: true });
  else if (pressed) [...stage.querySelectorAll("button")].find((one) => one.textContent === focused.textContent)?.focus();
};

const cellIn = (event) => event.target.closest?.(".cell");
const tell = (cell, x, y) => showTip(told(placeOf(cell)), x, y);

stage.addEventListener("mousemove", (event) => {
  const cell = cellIn(event);
  if (cell) tell(cell, event.clientX, event.clientY);
  else hideTip();
});
stage.addEventListener("mouseleave", hideTip);
stage.addEventListener("focusin", (event) => {
  const cell = cellIn(event);
  if (!cell) return;
  reach(cell);
  reveal(cell.closest(".scroll"), cell);
  const { right, bottom } = cell.getBoundingClientRect();
  tell(cell, right - 14, bottom - 10);
});
stage.addEventListener("focusout", hideTip);
stage.addEventListener("click", (event) => {
  const cell = cellIn(event);
  if (!cell) return;
  cell.focus({ preventScroll: true });
  if (event.shiftKey) openColumn(at.position);
  else if (at.position !== grid.data.position) choose({ position: at.position });
});
stage.addEventListener("keydown", (event) => {
  const cell = cellIn(event);
  if (!cell) return;
  const { layer, position } = placeOf(cell);
  const { start, text } = grid.data;
  const places = {
    ArrowUp: { layer: layer - 1, position },
    ArrowDown: { layer: layer + 1, position },
    ArrowLeft: { layer, position: position - 1 },
    ArrowRight: { layer, position: position + 1 },
    Home: { layer, position: start },
    End: { layer, position: start + text.length - 1 },
  };
  if (event.key === "Escape") hideTip();
  else if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    if (event.shiftKey) openColumn(position);
    else if (position !== grid.data.position) choose({ position });
  } else if (places[event.key]) {
    event.preventDefault();
    cellAt(places[event.key])?.focus({ preventScroll: true });
  }
});
