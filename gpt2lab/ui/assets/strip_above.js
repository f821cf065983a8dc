// The tokens above the tabs: a click, or Enter, looks at a position in all of them. Shares one scope
// with chips.js.
const where = element.querySelector(".where");
const tokens = element.querySelector(".tokens");
let value = null;
let strip = null;
let looked = 0;

const mark = (position) => {
  looked = position;
  strip.chips.forEach((chip, index) => {
    const here = index === position;
    if (here) chip.setAttribute("aria-current", "true");
    else chip.removeAttribute("aria-current");
    chip.tabIndex = here ? 0 : -1;
  });
  const chip = strip.chips[position];
  const next = strip.chips[position + 1];
  where.replaceChildren(
    `position ${position} of ${strip.chips.length}: `,
    make("b", "", chip.textContent),
    next ? ", followed by " : ", the last",
    ...(next ? [make("b", "", next.textContent)] : []),
  );
  // Only the strip scrolls: the page stays where the reader is.
  const { top, bottom } = chip.getBoundingClientRect();
  const box = tokens.getBoundingClientRect();
  if (top < box.top || bottom > box.bottom) tokens.scrollTop += top - box.top - box.height / 3;
};
const draw = () => {
  if (props.value === value) return;
  value = props.value;
  if (!value) {
    where.replaceChildren();
    tokens.replaceChildren();
    return;
  }
  const [head, ...lines] = value.trimEnd().split("\n");
  const { position } = JSON.parse(head);
  const focused = tokens.contains(document.activeElement);
  strip = newStrip("Tokens of the text; choose one to look at its position in all tabs");
  addChips(strip, lines.map(tokenOf), 0, "raw");
  tokens.replaceChildren(strip);
  const last = strip.chips.length - 1;
  mark(Math.max(0, Math.min(last, position < 0 ? last + 1 + position : position)));
  if (focused) strip.chips[looked].focus({ preventScroll: true });
};
const look = (chip) => {
  const position = Number(chip.dataset.offset);
  mark(position);
  window.gpt2lab.choose({ position });
};

tokens.addEventListener("click", (event) => {
  const chip = event.target.closest(".chip");
  if (chip) look(chip);
});
tokens.addEventListener("keydown", (event) => {
  const chip = event.target.closest(".chip");
  if (!chip) return;
  if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    look(chip);
  } else if (/^(Arrow|Home$|End$)/.test(event.key)) {
    event.preventDefault();
    const at = strip.chips.indexOf(chip);
    const next = strip.chips[neighbour(strip.chips, at, event.key)];
    chip.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }
});
watch("value", draw);
draw();
