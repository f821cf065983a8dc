// What one can do in the transcript with pointer and keys: the legend's switches, the tools of a
// turn, and walking, choosing and looking at tokens. One listener for each kind of event.
const drawLegend = () => {
  const strips = make("label", "switch");
  const box = make("input");
  box.type = "checkbox";
  box.checked = settings.strips;
  box.dataset.setting = "strips";
  strips.append(box, "tokens");
  const choose = make("label", "", "coloured by ");
  const list = make("select");
  list.dataset.setting = "colouring";
  for (const [key, { title }] of Object.entries(COLOURINGS)) {
    const option = make("option", "", title);
    option.value = key;
    list.append(option);
  }
  list.value = settings.colouring;
  choose.append(list);
  const swatches = make("span", "swatches");
  swatches.setAttribute("role", "img");
  const names = COLOURINGS[settings.colouring].names;
  swatches.setAttribute("aria-label", `Colours, from expected to surprising: ${names.join(", ")}`);
  names.forEach((text, level) => swatches.append(make("span", `chip level-${level}`, text)));
  choose.hidden = swatches.hidden = !settings.strips;
  legend.replaceChildren(strips, choose, swatches);
};
const setting = (key, chosen) => {
  settings[key] = chosen;
  try {
    localStorage.setItem("gpt2lab strips", JSON.stringify(settings));
  } catch { /* then it holds until the page is left */ }
  hide();
  for (const { strip, tokens } of turns)
    strip?.chips.forEach((chip, index) => paint(chip, tokens[index], settings.colouring));
  turns.forEach(drawStrip);
  drawFocus();
  drawLegend();
  legend.querySelector(`[data-setting=${key}]`).focus();
};

const select = (chip) => {
  const { passage } = turnAt(chip).head;
  focus = [passage, Number(chip.dataset.offset)];
  drawFocus();
  trigger("select", { passage, offset: focus[1] });
};
const pin = (chip) => {
  show(chip, true);
  select(chip);
};
const roveTo = (chip) => {
  for (const other of turnAt(chip).strip.querySelectorAll(".chip[tabindex='0']")) other.tabIndex = -1;
  chip.tabIndex = 0;
  chip.focus({ preventScroll: true });
  chip.scrollIntoView({ block: "nearest" });
};
const ACTIONS = {
  edit: openForm,
  keep: (turn) => submitForm(turn, "keep"),
  generate: (turn) => submitForm(turn, "generate"),
  cancel: closeForm,
  tokens: (turn) => {
    const { passage } = turn.head;
    if (!opened.delete(passage)) opened.add(passage);
    drawStrip(turn);
    drawFocus();
    if (opened.has(passage) && !turn.tokens.some((one) => one.known)) ACTIONS.numbers(turn);
  },
  numbers: (turn) => trigger("submit", { action: "numbers", passage: turn.head.passage }),
  "go on with this one": (turn) => trigger("input", { passage: turn.head.passage }),
};

element.addEventListener("change", ({ target }) => {
  if (target.dataset.setting === "strips") setting("strips", target.checked);
  if (target.dataset.setting === "colouring") setting("colouring", target.value);
});
element.addEventListener("click", ({ target }) => {
  const pressed = target.closest("button");
  const chip = target.closest(".strip .chip");
  if (chip && looked.pinned && looked.chip === chip) hide();
  else if (chip) {
    roveTo(chip);
    pin(chip);
  } else if (pressed?.dataset.action === "branch") {
    const { passage } = turnAt(looked.chip).head;
    const offset = Number(looked.chip.dataset.offset);
    hide();
    trigger("submit", { action: "branch", passage, offset, id: Number(pressed.dataset.id) });
  } else if (pressed?.dataset.action === "unpin") hide();
  else if (pressed && ACTIONS[pressed.dataset.action]) ACTIONS[pressed.dataset.action](turnAt(pressed));
});
const handled = (event) => {
  event.preventDefault();
  event.stopPropagation();
};
element.addEventListener("keydown", (event) => {
  const { key, target } = event;
  const chip = target.closest(".strip .chip");
  const form = target.closest(".form");
  if (form && key === "Escape") {
    handled(event);
    const turn = turnAt(form);
    closeForm(turn);
    turn.tools.querySelector("button")?.focus();
  } else if (form && key === "Enter" && (event.ctrlKey || event.metaKey)) {
    handled(event);
    submitForm(turnAt(form), "generate");
  } else if (key === "Escape" && looked.chip) {
    handled(event);
    if (panel.contains(target)) looked.chip.focus();
    hide();
  } else if (chip) keyOnChip(event, chip);
  else if (panel.contains(target)) keyInPanel(event);
});
const keyOnChip = (event, chip) => {
  const { chips } = turnAt(chip).strip;
  if (/^(Arrow|Home$|End$)/.test(event.key)) {
    handled(event);
    const next = chips[neighbour(chips, chips.indexOf(chip), event.key)];
    roveTo(next);
    show(next, looked.pinned);
  } else if (event.key === "Enter" || event.key === " ") {
    handled(event);
    pin(chip);
  } else if (event.key === "Tab" && !event.shiftKey && looked.pinned) {
    handled(event);
    (panel.querySelector(".alternative") || panel.querySelector("button")).focus();
  }
};
const keyInPanel = (event) => {
  const buttons = [...panel.querySelectorAll("button")];
  const at = buttons.indexOf(event.target);
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key] || 0;
  if (step) {
    handled(event);
    buttons[(at + step + buttons.length) % buttons.length].focus();
  } else if (event.key === "Tab" && event.shiftKey && at <= 1) {
    handled(event);
    looked.chip.focus();
  }
};
element.addEventListener("pointerover", ({ target, pointerType }) => {
  if (pointerType !== "mouse" || looked.pinned) return;
  const chip = target.closest(".strip .chip");
  if (chip === looked.chip && chip) clearTimeout(looked.timer);
  else if (chip) later(60, () => show(chip, false));
  else if (panel.contains(target)) clearTimeout(looked.timer);
  else if (looked.chip) later(250, hide);
  else clearTimeout(looked.timer);
});
element.addEventListener("pointerleave", () => {
  if (!looked.pinned) later(250, hide);
});
element.addEventListener("focusin", ({ target }) => {
  const chip = target.closest(".strip .chip");
  if (chip?.matches(":focus-visible") && chip !== looked.chip) show(chip, looked.pinned);
});
element.addEventListener("focusout", ({ relatedTarget }) => {
  const stays = relatedTarget?.closest(".strip .chip") || panel.contains(relatedTarget);
  if (!stays && looked.chip && !looked.pinned) later(0, hide);
});
const outside = ({ target }) => {
  if (!element.isConnected) return forget();
  if (looked.chip && !(target instanceof Node && element.contains(target))) hide();
};
const scrolled = ({ target }) => {
  if (!element.isConnected) return forget();
  const within = target instanceof Node && panel.contains(target); // A window's resize has no node.
  if (looked.chip && !within) requestAnimationFrame(place);
};
const forget = () => {
  document.removeEventListener("pointerdown", outside);
  document.removeEventListener("scroll", scrolled, true);
  window.removeEventListener("resize", scrolled);
};
document.addEventListener("pointerdown", outside);
document.addEventListener("scroll", scrolled, true);
window.addEventListener("resize", scrolled);

watch("value", draw);
drawLegend();
draw();
