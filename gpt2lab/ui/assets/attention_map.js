// The map: a row for each query, a column for each key, both with their tokens. Where the cells are too
// small for labels, those around the pointer are shown again in the tip, larger.
const mapBox = make("div", "map");
const cells = canvas("cells");
const over = canvas("over");
over.tabIndex = 0;
over.setAttribute("role", "img");
const magnified = canvas("lens");
mapBox.append(cells, over);
let grid = null; // {left, cell, count}: how the map lies on the page

const label = (at) => (grid.step > 1 ? token(at) : data.shown[at]);
// The colours as pixels: red, green, blue and opaque.
const PIXELS = Uint32Array.from({ length: 256 }, (_, at) => {
  const pixel = Uint8Array.of(...VIRIDIS.subarray(3 * at, 3 * at + 3), 255);
  return new Uint32Array(pixel.buffer)[0];
});
// A pixel for each weight from one query and key on, `size` rows and columns of them.
const image = (first, firstKey, size) => {
  const drawn = canvas("");
  drawn.width = drawn.height = size;
  const pixels = new ImageData(size, size);
  const colours = new Uint32Array(pixels.data.buffer);
  const rows = Math.min(size, data.ids.length - first);
  for (let row = 0; row < rows; row++) {
    const columns = Math.min(size, first + row - firstKey + 1);
    for (let column = 0; column < columns; column++)
      colours[row * size + column] = PIXELS[level(share(weight(first + row, firstKey + column)))];
  }
  drawn.getContext("2d").putImageData(pixels, 0, 0);
  return drawn;
};
const paintMap = () => {
  const first = data.first_drawn;
  const count = data.ids.length - first;
  const width = stage.clientWidth;
  const all = count <= 64;
  grid = { step: all ? 1 : 2 };
  const longest = Math.max(...data.shown.slice(first).map((_, at) => [...label(first + at)].length));
  const left = Math.min(width < 600 ? 84 : 122, 20 + 6.8 * longest);
  const least = all ? LABELLED : 1 / (window.devicePixelRatio || 1);
  const cell = between(least, (width - left - 4) / count, count > 12 ? 30 : 40);
  const step = all ? 1 : Math.ceil(14 / cell);
  grid = { left, cell, count, step };
  const size = count * cell;
  const pen = sized(cells, left + size + 2, size + left);
  pen.fillStyle = pen.strokeStyle = colour("color");
  pen.imageSmoothingEnabled = false;
  pen.drawImage(image(first, first, count), left, 0, size, size);
  pen.globalAlpha = 0.25;
  pen.strokeRect(left, 0, size, size);
  pen.globalAlpha = 1;
  for (let at = 0; at < count; at += step) {
    const middle = (at + 0.5) * cell;
    pen.textAlign = "right";
    const text = fitted(pen, label(first + at), left - 12);
    pen.fillText(text, left - 8, Math.max(6, middle)); // the first one is not cut off
    pen.save();
    pen.translate(left + middle, size + 8);
    pen.rotate(-Math.PI / 2);
    pen.fillText(text, 0, 0);
    pen.restore();
  }
  over.setAttribute(
    "aria-label",
    "Map of attention weights: a row for each query, the token that looks, a column for each key, " +
      "the token that is looked at. The arrow keys move over it, Enter looks at the query.",
  );
  over.dataset.cell = cell;
  paintOver();
};
const paintOver = () => {
  const { left, cell, count } = grid;
  const first = data.first_drawn;
  const size = count * cell;
  const pen = sized(over, left + size + 2, size + left);
  const accent = colour("--color-accent");
  const row = position - first;
  pen.strokeStyle = pen.fillStyle = accent;
  pen.lineWidth = cell > 6 ? 2 : 1;
  if (row >= 0) {
    const y = (row + 0.5) * cell;
    pen.strokeRect(left, row * cell, (row + 1) * cell, cell);
    pen.beginPath();
    pen.moveTo(left, y);
    pen.lineTo(left - 7, y - 5);
    pen.lineTo(left - 7, y + 5);
    pen.fill();
  }
  if (!cursor || cursor.key === null || cursor.query === null) return;
  const [x, y] = [left + (cursor.key - first) * cell, (cursor.query - first) * cell];
  const thick = Math.max(1, cell);
  const wide = (cursor.query - first + 1) * cell;
  const top = (cursor.key - first) * cell;
  // The labels are shaded, the cells only framed: their colours are what one wants to compare.
  pen.globalAlpha = 0.3;
  pen.fillStyle = isDark() ? "white" : "black";
  pen.fillRect(0, y, left, thick);
  pen.fillRect(x, size, thick, left);
  pen.globalAlpha = 0.8;
  if (cell > 3) {
    pen.lineWidth = 1;
    pen.strokeStyle = "white";
    pen.strokeRect(left, y, wide, thick);
    pen.strokeRect(x, top, thick, size - top);
    pen.lineWidth = 2;
  } else {
    pen.fillRect(left, y, wide, thick);
    pen.fillRect(x, top, thick, size - top);
  }
  pen.globalAlpha = 1;
  pen.strokeStyle = isDark() ? "white" : "black";
  pen.strokeRect(x, y, thick, thick);
};
// Where cells have no labels, those around the cursor are shown again, larger and with labels.
const lens = () => {
  if (grid.cell >= LABELLED) return null;
  const around = 11;
  const size = 15;
  const left = 88;
  const first = data.first_drawn;
  const start = (at) => between(first, at - (around >> 1), Math.max(first, data.ids.length - around));
  const [top, side] = [start(cursor.query), start(cursor.key)];
  const pen = sized(magnified, left + around * size + 2, around * size + left);
  pen.imageSmoothingEnabled = false;
  pen.drawImage(image(top, side, around), left, 0, around * size, around * size);
  pen.textAlign = "right";
  for (let at = 0; at < Math.min(around, grid.count); at++) {
    const middle = (at + 0.5) * size;
    pen.fillStyle = top + at === cursor.query ? colour("--color-accent") : colour("color");
    pen.fillText(fitted(pen, token(top + at), left - 6), left - 4, middle);
    pen.fillStyle = side + at === cursor.key ? colour("--color-accent") : colour("color");
    pen.save();
    pen.translate(left + middle, around * size + 4);
    pen.rotate(-Math.PI / 2);
    pen.fillText(fitted(pen, token(side + at), left - 6), 0, 0);
    pen.restore();
  }
  pen.strokeStyle = isDark() ? "white" : "black";
  pen.lineWidth = 2;
  pen.strokeRect(left + (cursor.key - side) * size, (cursor.query - top) * size, size, size);
  return magnified;
};
const cellAt = (event) => {
  const box = over.getBoundingClientRect();
  const at = (offset) =>
    data.first_drawn + between(0, Math.floor(offset / grid.cell), grid.count - 1);
  return { query: at(event.clientY - box.top), key: at(event.clientX - box.left - grid.left) };
};
const pointOnMap = (event) => {
  if (atRest(event)) return;
  pointAt(cellAt(event), { x: event.clientX, y: event.clientY });
  paintOver();
};
over.addEventListener("pointermove", pointOnMap);
over.addEventListener("pointerdown", pointOnMap);
over.addEventListener("click", () => look(cursor?.query ?? position)); // "down" has pointed
over.addEventListener("keydown", (event) => {
  const last = data.ids.length - 1;
  cursor ??= { query: position, key: position };
  if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    look(cursor.query);
  } else if (STEPS[event.key]) {
    event.preventDefault();
    keyed = Date.now();
    const [down, right] = STEPS[event.key];
    const query = between(data.first_drawn, (cursor.query ?? position) + down, last);
    const key = between(data.first_drawn, (cursor.key ?? query) + right, query);
    const box = over.getBoundingClientRect();
    const at = (place) => (place - data.first_drawn + 0.5) * grid.cell;
    const y = box.top + at(query);
    if (y < 60 || y > innerHeight - 160) window.scrollBy(0, y - innerHeight / 2);
    const now = over.getBoundingClientRect();
    pointAt({ query, key }, { x: now.left + grid.left + at(key), y: now.top + at(query) });
    paintOver();
  }
});
