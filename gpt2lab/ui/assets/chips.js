// A strip of tokens: one chip a token, coloured by how expected the token was. Level 0 is what the
// model expected, the last level what surprised it; strip.css has a colour for each level.
const make = (tag, className, text) => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
};
const button = (className, text, action) => {
  const node = make("button", className, text);
  node.type = "button";
  node.dataset.action = action;
  return node;
};

const SHARES = [0.9, 0.6, 0.3, 0.1, 0.03, 0.01, 0.001];
const SHARE_NAMES = ["≥ 90 %", "≥ 60 %", "≥ 30 %", "≥ 10 %", "≥ 3 %", "≥ 1 %", "≥ 0.1 %", "less"];
const COLOURINGS = {
  raw: {
    title: "probability (raw)",
    names: SHARE_NAMES,
    level: (token) => SHARES.filter((bound) => token.raw < bound).length,
  },
  processed: {
    title: "probability (processed)",
    names: SHARE_NAMES,
    level: (token) => SHARES.filter((bound) => token.probability < bound).length,
  },
  rank: {
    title: "rank",
    names: ["1", "2", "3–5", "6–10", "11–30", "31–100", "101–1,000", "more"],
    level: (token) => [1, 2, 5, 10, 30, 100, 1000].filter((bound) => token.rank > bound).length,
  },
  entropy: {
    title: "entropy",
    names: ["< ½ bit", "< 1", "< 2", "< 3", "< 4", "< 6", "< 8 bits", "more"],
    level: (token) => [0.5, 1, 2, 3, 4, 6, 8].filter((bound) => token.entropy >= bound).length,
  },
};

const percent = (share) => {
  const value = 100 * share;
  if (value === 0) return "0 %";
  if (value >= 99.95 && value < 100) return "> 99.9 %";
  if (value >= 10) return `${value.toFixed(1)} %`;
  return `${value >= 1e-6 ? value.toPrecision(2) : value.toExponential(1)} %`;
};
const count = (number) => number.toLocaleString("en");
const minus = (text) => text.replace("-", "−");

// A line of the value, see token_strip.py.
const tokenOf = (line) => {
  const [, offset, id, shown, word, hex, logprob, probability, rank, entropy, alternatives] =
    JSON.parse(line);
  const known = logprob !== null;
  const raw = known ? Math.exp(logprob) : null;
  return { offset, id, shown, word, hex, known, raw, logprob, probability, rank, entropy, alternatives };
};
const bytesOf = (hex) => Uint8Array.from(hex.match(/../g) || [], (pair) => parseInt(pair, 16));
const isInside = (byte) => byte >= 0x80 && byte < 0xc0;

// How many bytes are still missing of the character that a token leaves unfinished.
const missing = (bytes, before) => {
  let need = before;
  for (const byte of bytes) {
    if (isInside(byte)) need = Math.max(0, need - 1);
    else need = byte >= 0xf0 ? 3 : byte >= 0xe0 ? 2 : byte >= 0xc0 ? 1 : 0;
  }
  return need;
};

const paint = (chip, token, colouring) => {
  const level = token.known ? `level-${COLOURINGS[colouring].level(token)}` : "unknown";
  chip.className = `chip ${level}${chip.dataset.forced ? " forced" : ""}`;
};
const name = (token, forced) =>
  [
    `token ${token.offset + 1}, "${token.shown}", id ${token.id}`,
    token.known ? `probability ${percent(token.raw).replace("%", "percent")}, rank ${token.rank}` : "",
    forced ? "chosen by you" : "",
  ].filter(Boolean).join(", ");

// Adds the chips that a strip has not yet. A character that is spread over several tokens becomes a
// group: it stays open while bytes are missing.
const addChips = (strip, tokens, forced, colouring) => {
  const news = document.createDocumentFragment();
  for (const token of tokens.slice(strip.chips.length)) {
    const chip = make("span", "", token.shown);
    chip.setAttribute("role", "option");
    chip.setAttribute("aria-label", name(token, token.offset < forced));
    chip.setAttribute("aria-selected", "false");
    chip.tabIndex = strip.chips.length ? -1 : 0;
    chip.dataset.offset = token.offset;
    chip.dataset.id = token.id;
    if (token.offset < forced) chip.dataset.forced = "yes";
    paint(chip, token, colouring);
    const bytes = bytesOf(token.hex);
    const joins = strip.need > 0 && bytes.length > 0 && isInside(bytes[0]);
    strip.need = missing(bytes, joins ? strip.need : 0);
    if (!joins) strip.group = null;
    if (!joins && strip.need > 0) {
      strip.group = make("span", "");
      strip.bytes = [];
      news.append(strip.group);
    }
    if (strip.group) {
      strip.bytes.push(...bytes);
      strip.group.append(chip);
      if (strip.group.childElementCount > 1) nameGroup(strip);
    } else {
      news.append(chip);
    }
    strip.chips.push(chip);
    if (token.hex.endsWith("0a")) news.append(make("br"));
  }
  strip.append(news);
};
const nameGroup = ({ group, bytes }) => {
  const whole = new TextDecoder().decode(Uint8Array.from(bytes)).trim();
  const character = whole.includes("\ufffd") ? "…" : whole;
  group.className = "character";
  group.setAttribute("role", "group");
  group.setAttribute("aria-label", `character ${character}`);
  group.title = `${character}: one character, several tokens`;
  group.dataset.character = character;
};
const newStrip = (label) => {
  const strip = make("div", "strip");
  strip.setAttribute("role", "listbox");
  strip.setAttribute("aria-orientation", "horizontal");
  strip.setAttribute("aria-label", label);
  strip.setAttribute("aria-live", "off");
  return Object.assign(strip, { chips: [], need: 0, group: null, bytes: [] });
};

// The chip that an arrow key leads to. Up and down go to the nearest chip of the next row.
const neighbour = (chips, at, key) => {
  if (key === "Home") return 0;
  if (key === "End") return chips.length - 1;
  if (key === "ArrowRight") return Math.min(at + 1, chips.length - 1);
  if (key === "ArrowLeft") return Math.max(at - 1, 0);
  const step = key === "ArrowDown" ? 1 : -1;
  const middle = (box) => (box.left + box.right) / 2;
  const from = chips[at].getBoundingClientRect();
  let best = at;
  let row = null;
  for (let index = at + step; index >= 0 && index < chips.length; index += step) {
    const box = chips[index].getBoundingClientRect();
    if (Math.abs(box.top - from.top) < from.height / 2) continue;
    row ??= box.top;
    if (Math.abs(box.top - row) > from.height / 2) break;
    const distance = Math.abs(middle(box) - middle(from));
    if (best === at || distance < Math.abs(middle(chips[best].getBoundingClientRect()) - middle(from)))
      best = index;
  }
  return best;
};
