// One pair: the calculation in words, the products that add up, and a row for each key of the query
// with its score, its weight and what it adds to the stream. A click, or Enter, chooses a key.
const COLUMNS = [
  ["score", "scores", (value) => minus(value.toFixed(2))],
  ["weight", "weights", percent],
  ["‖weight · v · W_O‖", "norms", (value) => value.toPrecision(3)],
];
let byWeight = false; // in which order the keys stand; it stays when the drawing is made anew

// A bar from zero to `value`, in a box whose ends are `low` and `high`.
const barOf = (value, low, high) => {
  const box = make("span", "box");
  const bar = make("span", value < 0 ? "bar below" : "bar");
  const place = (one) => (100 * (one - low)) / (high - low || 1);
  bar.style.left = `${place(Math.min(value, 0))}%`;
  bar.style.width = `${Math.abs(place(value) - place(0))}%`;
  box.append(bar);
  return box;
};
const ends = (values) => [Math.min(0, ...values), Math.max(0, ...values)];

const draw = (data) => {
  const { position, key, shown } = data;
  const hadFocus = stage.contains(document.activeElement);
  const title = make(
    "strong",
    "",
    `layer ${data.layer}, head ${data.head}: query ${position}, ${shown[position]}, and key ${key}, ${shown[key]}`,
  );
  const formula = make("ol", "formula");
  formula.append(...data.formula.map((line) => make("li", "", line)));

  const products = make("div", "products");
  products.append(make("div", "heading", `${data.products.length} products q × k, the largest first`));
  const [least, most] = ends(data.products);
  const sorted = data.products.map((value, dimension) => [value, dimension]);
  sorted.sort(([one], [other]) => other - one);
  const stack = make("div", "stack");
  for (const [value, dimension] of sorted) {
    const row = barOf(value, least, most);
    row.addEventListener("pointermove", ({ clientX, clientY }) =>
      showTip([`dimension ${dimension}: ${minus(value.toPrecision(4))}`], clientX, clientY));
    row.addEventListener("pointerleave", hideTip);
    stack.append(row);
  }
  products.append(stack);

  const keys = make("div", "keys");
  const heading = make("div", "heading");
  const order = button("order", byWeight ? "in the order of the text" : "largest weight first", "order");
  order.addEventListener("click", () => {
    byWeight = !byWeight;
    draw(data);
    stage.querySelector(".order").focus();
  });
  const seen = position + 1;
  heading.append(make("span", "", `the ${count(seen)} key${seen === 1 ? "" : "s"} of this query`), order);
  const names = make("div", "names");
  names.append(make("span", "", "key"), ...COLUMNS.map(([name]) => make("span", "", name)));
  const list = make("div", "list");
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", "keys of the query");
  const scales = COLUMNS.map(([, field]) => ends(data[field]));
  const places = shown.map((_, place) => place);
  if (byWeight) places.sort((one, other) => data.weights[other] - data.weights[one] || one - other);
  const rows = places.map((place) => {
    const chosen = place === key;
    const masked = place > position;
    const row = make("div", `key${chosen ? " chosen" : ""}${masked ? " masked" : ""}`);
    row.setAttribute("role", "option");
    row.setAttribute("aria-selected", `${chosen}`);
    row.tabIndex = chosen ? 0 : -1;
    row.dataset.key = place;
    const token = make("span", "token", `${place} ${shown[place]}`);
    token.title = shown[place];
    row.append(token);
    for (const [index, [, field, written]] of COLUMNS.entries()) {
      const value = data[field][place];
      const cell = make("span", "cell");
      const hidden = masked && field !== "scores";
      cell.append(barOf(value, ...scales[index]), make("span", "number", hidden ? "masked" : written(value)));
      row.append(cell);
    }
    return row;
  });
  list.append(...rows);
  list.addEventListener("click", ({ target }) => {
    const row = target.closest(".key");
    if (row) choose({ key: Number(row.dataset.key) });
  });
  list.addEventListener("keydown", (event) => {
    const at = rows.indexOf(document.activeElement);
    const to = { ArrowUp: at - 1, ArrowDown: at + 1, Home: 0, End: rows.length - 1 }[event.key];
    if (event.key === "Enter" || event.key === " ") document.activeElement.click();
    else if (rows[to] === undefined) return;
    else rows[to].focus();
    event.preventDefault();
  });
  keys.append(heading, names, list);
  const pair = make("div", "pair");
  pair.append(products, keys);
  stage.replaceChildren(title, formula, pair);
  // The list alone is scrolled, not the page.
  const selected = rows[places.indexOf(key)];
  list.scrollTop = selected.offsetTop - list.clientHeight / 2;
  if (hadFocus) selected.focus({ preventScroll: true });
};
