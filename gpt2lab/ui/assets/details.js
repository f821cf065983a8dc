// The panel that says everything about one token: it shows the chip under the pointer or with the
// keyboard's focus, and stays at one chip when it is pinned there.
const panel = element.querySelector(".details");
const looked = { chip: null, pinned: false, timer: 0 };

const fact = (label, value, exact) => {
  const pair = make("div");
  const number = make("dd", "", value);
  if (exact !== undefined) number.title = exact;
  pair.append(make("dt", "", label), number);
  return pair;
};
const share = (value) => {
  const cell = make("td", "share");
  const bar = make("span", "bar");
  bar.style.width = `${(100 * value).toFixed(1)}%`;
  cell.dataset.value = value;
  cell.title = value;
  cell.append(bar, make("span", "number", percent(value)));
  return cell;
};
const choiceRow = ([id, shown, raw, probability], chosen) => {
  const row = make("tr", chosen ? "chosen" : "");
  const cell = make("td");
  const choose = button("alternative", shown, "branch");
  choose.dataset.id = id;
  choose.title = chosen ? "write anew behind this token" : "go on with this token instead";
  choose.setAttribute(
    "aria-label",
    `${chosen ? "chosen: " : ""}"${shown}", id ${id}, raw ${percent(raw)}, processed ${percent(probability)}`,
  );
  cell.append(choose);
  row.dataset.id = id;
  row.append(cell, make("td", "id", id), share(raw), share(probability));
  return row;
};
const alternativesTable = (token) => {
  const own = [token.id, token.shown, token.raw, token.probability];
  const listed = token.alternatives.some(([id]) => id === token.id);
  const rows = listed ? [...token.alternatives] : [...token.alternatives, own];
  rows.sort((one, other) => other[2] - one[2]);
  const rest = (column) => Math.max(0, 1 - rows.reduce((sum, row) => sum + row[column], 0));
  const table = make("table");
  const head = make("tr");
  ["alternative", "id", "raw", "processed"].forEach((title) => {
    const cell = make("th", "", title);
    cell.scope = "col";
    head.append(cell);
  });
  const last = make("tr", "rest");
  const others = make("td", "", "all other tokens");
  others.colSpan = 2;
  last.append(others, share(rest(2)), share(rest(3)));
  table.append(head, ...rows.map((row) => choiceRow(row, row[0] === token.id)), last);
  return table;
};
const describe = (turn, token) => {
  const title = make("div", "title");
  const shown = make("span", "shown", token.shown);
  const place = `token ${count(token.offset + 1)} of ${count(turn.tokens.length)}`;
  const forced = token.offset < turn.head.forced ? ", chosen by you" : "";
  const close = button("close", "×", "unpin");
  close.setAttribute("aria-label", "Close");
  title.append(shown, make("span", "place", place + forced), close);
  const facts = make("dl");
  facts.append(fact("id", String(token.id)), fact("in the vocabulary", token.word));
  if (token.hex) facts.append(fact("bytes", token.hex.replace(/..(?=.)/g, "$& ")));
  else facts.append(fact("kind", "special: no part of the text"));
  if (!token.known) {
    const why = token.offset
      ? "The numbers of this token are not computed."
      : "There are no numbers: they are not computed, or no token stands before this one.";
    panel.replaceChildren(title, facts, make("p", "", why));
    return;
  }
  facts.append(
    fact("raw probability", percent(token.raw), token.raw),
    fact("processed", percent(token.probability), token.probability),
    fact("log-probability", minus(token.logprob.toFixed(4)), token.logprob),
    fact("rank", count(token.rank)),
    fact("entropy", `${token.entropy.toFixed(2)} bits`, token.entropy),
  );
  panel.replaceChildren(title, facts, alternativesTable(token));
};

const isPhone = () => window.matchMedia("(max-width: 640px)").matches;
// Below the chip, or above it where there is more room: never over it.
const place = () => {
  const chip = looked.chip;
  if (!chip) return;
  if (!chip.isConnected) return hide();
  const box = chip.getBoundingClientRect();
  panel.style.cssText = "";
  if (isPhone()) return;
  const frame = chip.closest(".turns").getBoundingClientRect();
  panel.classList.toggle("away", box.bottom < frame.top || box.top > frame.bottom);
  const below = window.innerHeight - box.bottom - 12;
  const above = box.top - 12;
  const under = below >= Math.min(panel.scrollHeight, 320) || below >= above;
  panel.style.maxHeight = `${under ? below : above}px`;
  const { width, height } = panel.getBoundingClientRect();
  panel.style.top = `${under ? box.bottom + 4 : box.top - 4 - height}px`;
  panel.style.left = `${Math.max(8, Math.min(box.left, window.innerWidth - width - 8))}px`;
};
// On a phone the panel is docked at the bottom; the chip moves out from under it, and at the end of
// the page there must be room for that.
const uncover = (chip) => {
  element.style.paddingBottom = `${panel.offsetHeight}px`;
  const hidden = chip.getBoundingClientRect().bottom + 12 - panel.getBoundingClientRect().top;
  if (hidden > 0) window.scrollBy(0, hidden);
};
const show = (chip, pinned) => {
  clearTimeout(looked.timer);
  looked.chip?.classList.remove("looked");
  const turn = turnAt(chip);
  Object.assign(looked, { chip, pinned });
  chip.classList.add("looked");
  describe(turn, turn.tokens[chip.dataset.offset]);
  panel.classList.toggle("pinned", pinned);
  if (!panel.matches(":popover-open")) panel.showPopover();
  panel.scrollTop = 0;
  place();
  if (isPhone()) uncover(chip);
};
const hide = () => {
  clearTimeout(looked.timer);
  looked.chip?.classList.remove("looked");
  Object.assign(looked, { chip: null, pinned: false });
  element.style.paddingBottom = "";
  if (panel.matches(":popover-open")) panel.hidePopover();
};
const later = (milliseconds, action) => {
  clearTimeout(looked.timer);
  looked.timer = setTimeout(action, milliseconds);
};
