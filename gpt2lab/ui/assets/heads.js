// The mosaic of all heads: one button with a small picture for each, a row per layer, a column per
// head. The one that is pointed at or focused is shown larger, with its numbers. A click, or Enter,
// opens it in the tab Attention; with a finger the first tap looks and the second one opens.
const SIZE = 48; // pixels of a small picture, about
const LARGE = 160;
const NUMBERS = {
  entropy_bits: ["entropy", (value) => `${value.toFixed(2)} bits`],
  distance: ["distance", (value) => `${value.toFixed(1)} tokens`],
  first: ["on the first token", percent],
  previous: ["on the previous token", percent],
  itself: ["on itself", percent],
  induction: ["on the induction positions", percent],
};
const SORTED_BY = {
  entropy: ["entropy_bits", "Lowest entropy"],
  distance: ["distance", "Largest distance"],
  "first token": ["first", "Most weight on the first token"],
  "previous token": ["previous", "Most weight on the previous token"],
  induction: ["induction", "Most weight on the induction positions"],
};
const MARKS = [0, 0.01, 0.1, 0.3, 0.6, 1];

let at = null; // the head that is looked at, [layer, head]; it stays when the drawing is made anew

const draw = (data) => {
  const layers = data.numbers.first.length;
  const heads = data.numbers.first[0].length;
  const bytes = Uint8Array.from(atob(data.pixels), (one) => one.charCodeAt(0));
  const perHead = (data.side * (data.side + 1)) / 2;
  const leading = data.leading.map(([layer, head]) => layer * heads + head);
  const known = at && at[0] < layers && at[1] < heads;
  at = known ? at : (data.leading[0] ?? [0, 0]);
  hideTip();
  const hadFocus = stage.contains(document.activeElement);

  // Only the lower left of a picture is stored, and only that is painted.
  const paintHead = (canvas, layer, head, size) => {
    const { side } = data;
    const scale = Math.max(1, Math.floor(size / side));
    canvas.width = canvas.height = side * scale;
    const image = new ImageData(side, side);
    let next = (layer * heads + head) * perHead;
    for (let query = 0; query < side; query += 1) {
      for (let key = 0; key <= query; key += 1, next += 1) {
        const colour = VIRIDIS.subarray(3 * bytes[next], 3 * bytes[next] + 3);
        image.data.set([...colour, 255], 4 * (query * side + key));
      }
    }
    const small = new OffscreenCanvas(side, side);
    small.getContext("2d").putImageData(image, 0, 0);
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(small, 0, 0, canvas.width, canvas.height);
  };
  const written = (name, layer, head) => {
    const value = data.numbers[name][layer][head];
    return value === null ? "none" : NUMBERS[name][1](value);
  };
  const describe = (layer, head) =>
    Object.entries(NUMBERS).map(([name, [title]]) => `${title} ${written(name, layer, head)}`);
  const open = (layer, head) =>
    choose({ tab: "attention", layer, head, average: "one head", hide_first: data.hide_first });

  // What is looked at: larger, with its numbers.
  const side = make("div", "beside");
  const details = make("div", "details");
  const large = make("canvas");
  const title = make("strong");
  const list = make("dl");
  const opener = button("open", "Open in Attention", "open");
  opener.addEventListener("click", () => open(...at));
  const told = make("div", "told");
  told.append(title, list, opener);
  details.append(large, told);
  const cells = [];
  const look = (layer, head) => {
    cells[at[0] * heads + at[1]].tabIndex = -1;
    cells[at[0] * heads + at[1]].classList.remove("seen");
    at = [layer, head];
    cells[layer * heads + head].tabIndex = 0;
    cells[layer * heads + head].classList.add("seen");
    paintHead(large, layer, head, LARGE);
    title.textContent = `layer ${layer}, head ${head}`;
    list.replaceChildren();
    for (const [name, [what]] of Object.entries(NUMBERS)) {
      const row = make("div", SORTED_BY[data.sort]?.[0] === name ? "sorted" : "");
      row.append(make("dt", "", what), make("dd", "", written(name, layer, head)));
      list.append(row);
    }
  };

  // Where there is no room beside the mosaic, the numbers stand beside the head.
  const tell = (cell, layer, head) => {
    if (side.getBoundingClientRect().left > grid.getBoundingClientRect().left + 1) return;
    const { right, bottom } = cell.getBoundingClientRect();
    showTip([`layer ${layer}, head ${head}`, ...describe(layer, head)], right - 14, bottom - 10);
  };

  const grid = make("div", "mosaic");
  grid.setAttribute("role", "grid");
  grid.setAttribute("aria-label", "attention of all heads, a row per layer, a column per head");
  const top = make("div", "row");
  top.setAttribute("aria-hidden", "true");
  top.append(make("span", "corner", "layer \\ head"));
  for (let head = 0; head < heads; head += 1) top.append(make("span", "name", head));
  grid.append(top);
  for (let layer = 0; layer < layers; layer += 1) {
    const row = make("div", "row");
    row.setAttribute("role", "row");
    const name = make("span", "name", layer);
    name.setAttribute("aria-hidden", "true");
    row.append(name);
    for (let head = 0; head < heads; head += 1) {
      const rank = leading.indexOf(layer * heads + head);
      const cell = button(rank < 0 ? "head" : "head leads", undefined, "open");
      cell.setAttribute("role", "gridcell");
      const place = rank < 0 ? "" : `, number ${rank + 1} by ${data.sort}`;
      const label = [`layer ${layer}, head ${head}${place}`, ...describe(layer, head)].join("; ");
      cell.setAttribute("aria-label", label);
      cell.tabIndex = -1;
      const canvas = make("canvas");
      paintHead(canvas, layer, head, SIZE);
      cell.append(canvas);
      if (rank >= 0) cell.append(make("span", "rank", rank + 1));
      const point = () => {
        look(layer, head);
        tell(cell, layer, head);
      };
      cell.addEventListener("pointerenter", (event) => {
        if (event.pointerType !== "touch") point();
      });
      cell.addEventListener("focus", point);
      cell.addEventListener("pointerleave", hideTip);
      cell.addEventListener("blur", hideTip);
      // A tap focuses before it clicks, so whether the head was looked at is asked before that.
      let seenBefore = true;
      cell.addEventListener("pointerdown", (event) => {
        seenBefore = event.pointerType !== "touch" || cell.classList.contains("seen");
      });
      cell.addEventListener("click", () => {
        if (seenBefore) open(layer, head);
        seenBefore = true;
      });
      row.append(cell);
      cells.push(cell);
    }
    grid.append(row);
  }
  grid.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    const ends = { Home: [at[0], 0], End: [at[0], heads - 1] };
    const step = steps[event.key];
    const to = ends[event.key] ?? (step && [at[0] + step[0], at[1] + step[1]]);
    if (!to || !cells[to[0] * heads + to[1]] || to[1] < 0 || to[1] >= heads) return;
    event.preventDefault();
    cells[to[0] * heads + to[1]].focus();
  });

  const legend = make("div", "legend");
  const tokens = `${count(data.length)} token${data.length === 1 ? "" : "s"}`;
  const pixel = data.block === 1 ? "a pixel is one token" : `a pixel is ${data.block} tokens`;
  const hidden = data.hide_first ? "; the first key is hidden" : "";
  legend.append(make("span", "", `${tokens}: queries downwards, keys to the right; ${pixel}${hidden}.`));
  const scale = make("span", "scale");
  scale.append(make("span", "", "Weight of a pixel's keys, coloured by its square root:"));
  const band = make("span", "band");
  const stops = MARKS.map((share) => Math.sqrt(share));
  const shades = Array.from({ length: 17 }, (_, step) => viridis(step / 16));
  band.style.background = `linear-gradient(to right, ${shades.join()})`;
  for (const [index, share] of MARKS.entries()) {
    const mark = make("span", "", `${100 * share} %`);
    mark.style.left = `${100 * stops[index]}%`;
    band.append(mark);
  }
  scale.append(band);
  legend.append(scale);

  const best = make("div", "best");
  if (SORTED_BY[data.sort]) {
    const [name, what] = SORTED_BY[data.sort];
    best.append(make("span", "", `${what}:${data.leading.length ? "" : " this text has no such query."}`));
    for (const [layer, head] of data.leading) {
      const number = written(name, layer, head);
      const chip = button("chip", `${layer}.${head} · ${number}`, "look");
      chip.setAttribute("aria-label", `layer ${layer}, head ${head}: ${number}`);
      chip.addEventListener("click", () => cells[layer * heads + head].focus());
      best.append(chip);
    }
  }
  side.append(details, best);
  const whole = make("div", "heads");
  whole.style.setProperty("--heads", heads);
  whole.append(grid, side);
  stage.replaceChildren(whole, legend);
  look(...at);
  if (hadFocus) cells[at[0] * heads + at[1]].focus();
};
