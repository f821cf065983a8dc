// The row of one query: the whole text, each token in the colour of the weight that it gets.
const rowBox = make("div", "row-view");
rowBox.setAttribute("role", "listbox");
rowBox.setAttribute("aria-label", "The text, coloured by the weights of one query");
let rowChips = [];
let rowText = "";

const paintRow = () => {
  const first = data.first_drawn;
  const text = JSON.stringify([first, data.shown]);
  if (text !== rowText) {
    rowText = text;
    rowChips = data.shown.slice(first).map((shown) => {
      const chip = make("span", "chip", shown);
      chip.setAttribute("role", "option");
      return chip;
    });
    const breaks = (chip) => (chip.textContent.endsWith("↵") ? [chip, make("br")] : [chip]);
    rowBox.replaceChildren(...rowChips.flatMap(breaks));
  }
  rowChips.forEach((chip, index) => {
    const key = first + index;
    const strength = share(weight(position, key));
    const ahead = key > position;
    chip.classList.toggle("ahead", ahead);
    chip.classList.toggle("query", key === position);
    chip.setAttribute("aria-selected", String(key === position));
    chip.setAttribute("aria-label", said({ query: position, key }).join(", "));
    chip.tabIndex = key === Math.max(first, position) ? 0 : -1;
    chip.style.background = ahead ? "" : viridis(strength);
    chip.style.color = ahead ? "" : inkOn(strength);
  });
};
const pointOnRow = (chip) => {
  const { left, bottom } = chip.getBoundingClientRect();
  pointAt({ query: position, key: data.first_drawn + rowChips.indexOf(chip) }, { x: left, y: bottom });
};
for (const kind of ["pointerover", "focusin", "pointerdown"])
  rowBox.addEventListener(kind, (event) => {
    const chip = event.target.closest(".chip");
    if (chip) pointOnRow(chip);
  });
rowBox.addEventListener("click", (event) => {
  const chip = event.target.closest(".chip");
  if (chip) look(data.first_drawn + rowChips.indexOf(chip));
});
rowBox.addEventListener("keydown", (event) => {
  const at = rowChips.indexOf(event.target);
  if (at < 0) return;
  if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    look(data.first_drawn + at);
    pointOnRow(rowChips[at]);
  } else if (/^(Arrow|Home$|End$)/.test(event.key)) {
    event.preventDefault();
    rowChips[neighbour(rowChips, at, event.key)].focus();
  }
});
