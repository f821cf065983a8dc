// Draws the tree of branches: one tab stop, arrow keys walk the lines. Text enters as textContent.
const tree = element.querySelector("[role=tree]");
const piece = (className, text) => {
  const node = document.createElement("span");
  node.className = className;
  node.textContent = text;
  return node;
};
const lineOf = (one) => {
  const line = document.createElement("div");
  line.className = `branch ${one.author}${one.path ? " path" : ""}`;
  line.setAttribute("role", "treeitem");
  line.setAttribute("aria-level", one.depth + 1);
  line.setAttribute("aria-selected", String(one.active));
  if (one.active) line.setAttribute("aria-current", "true");
  line.tabIndex = -1;
  line.dataset.passage = one.passage;
  line.style.setProperty("--depth", one.depth);
  const start = piece("start", one.text || "(nothing)");
  start.dir = "auto";
  line.append(piece("number", `${one.passage + 1}`), piece("author", one.author));
  if (one.behind !== null) line.append(piece("behind", `behind token ${one.behind}`));
  if (one.forced) line.append(piece("forced", one.forced));
  line.append(start);
  return line;
};
const rove = (line) => {
  for (const other of tree.querySelectorAll("[tabindex='0']")) other.tabIndex = -1;
  if (line) line.tabIndex = 0;
};
const draw = () => {
  const lines = JSON.parse(props.value || "[]");
  const hadFocus = tree.contains(document.activeElement);
  const before = tree.scrollTop;
  tree.hidden = !lines.length;
  tree.replaceChildren(...lines.map(lineOf));
  tree.scrollTop = before;
  const active = tree.querySelector("[aria-current]") || tree.firstElementChild;
  rove(active);
  if (hadFocus) active?.focus();
};
const choose = (line) => trigger("select", { passage: Number(line.dataset.passage) });
element.addEventListener("click", ({ target }) => {
  const line = target.closest(".branch");
  if (line) choose(line);
});
element.addEventListener("keydown", (event) => {
  const line = event.target.closest(".branch");
  if (!line) return;
  const others = {
    ArrowDown: line.nextElementSibling,
    ArrowUp: line.previousElementSibling,
    Home: tree.firstElementChild,
    End: tree.lastElementChild,
  };
  if (event.key === "Enter" || event.key === " ") choose(line);
  else if (!(event.key in others)) return;
  event.preventDefault();
  event.stopPropagation();
  const next = others[event.key];
  if (!next) return;
  rove(next);
  next.focus();
});
watch("value", draw);
draw();
