// What is drawn when: views and heads that are chosen here, and what the server sends.
for (const one of [over, lineBox, rowBox]) {
  one.addEventListener("blur", hideTip, true);
  one.addEventListener("pointerleave", (event) => {
    // A finger has gone, but what it pointed at stays.
    if (event.pointerType === "touch" || atRest(event)) return;
    hideTip();
    cursor = null;
    if (view === "map") paintOver();
    if (view === "lines") paintLines();
  });
}
document.addEventListener("pointerdown", (event) => {
  if (!stage.contains(event.target)) hideTip();
});
document.addEventListener("touchmove", hideTip, { passive: true });

const PAINT = { map: [mapBox, paintMap], lines: [lineView, paintLines], row: [rowBox, paintRow] };
const paintLegend = () => {
  const stops = Array.from({ length: 17 }, (_, index) => viridis(index / 16));
  const scale = make("div", "scale");
  scale.style.background = `linear-gradient(to right, ${stops.join()})`;
  const ticks = data.log_scale
    ? ["≤ 0.00001", "0.0001", "0.001", "0.01", "0.1", "1"]
    : ["0", "0.25", "0.5", "0.75", "1"];
  const numbers = make("div", "ticks");
  numbers.append(...ticks.map((text) => make("span", "", text)));
  const both = make("div", "colours");
  both.append(scale, numbers);
  legend.replaceChildren(
    make("span", "", `attention weight${data.log_scale ? ", logarithmic" : ""}`),
    both,
  );
};
const render = () => {
  if (!data || !stage.clientWidth) return;
  if (frame.parentElement !== stage) stage.replaceChildren(frame);
  press(views, view);
  press(headButtons, data.average === "one head" ? head : "");
  for (const one of headButtons.querySelectorAll("button"))
    one.classList.toggle("loaded", maps.has(Number(one.dataset.action)));
  heading.textContent = title();
  help.textContent = HELP[view];
  const [box, paint] = PAINT[view];
  const { first_drawn, hide_first, log_scale } = data;
  const now = [layerKey, head, position, first_drawn, hide_first, log_scale, view];
  const picture = JSON.stringify([...now, isDark(), stage.clientWidth, window.devicePixelRatio]);
  if (picture === painted) return;
  painted = picture;
  const opened = body.firstElementChild !== box;
  if (opened) body.replaceChildren(box);
  paint();
  if (opened && view === "lines") {
    lineBox.scrollTop = (position - first_drawn) * ROW - lineBox.clientHeight / 2;
    paint();
  }
  paintLegend();
  if (!cursor) return;
  if (view === "row") cursor.query = position;
  pointAt(cursor, tip.matches(":popover-open") ? tipAt : null); // the numbers there are others
};
new ResizeObserver(render).observe(stage);

views.addEventListener("click", (event) => {
  const name = event.target.closest("button")?.dataset.action;
  if (!name) return;
  view = name;
  cursor = null;
  read.textContent = "";
  try {
    localStorage.setItem(REMEMBERED, view);
  } catch {}
  render();
});
const HELP = {
  map:
    "Point at a cell: its row is the query, the token that looks; its column the key, the token " +
    "that is looked at. A click looks at the query in all tabs.",
  lines:
    "Point at a query on the left to see only its lines, or at a key on the right to see who looks " +
    "at it. A click looks at the token in all tabs.",
  row:
    "The weights of one query on all tokens up to itself. Point at a token to read its weight; a " +
    "click makes it the query, in all tabs.",
};

// What was chosen here but not yet drawn by the server: it wins over what arrives meanwhile.
const PATIENCE = 8000; // milliseconds
let wanted = {};
let until = 0;
let sending = null;
const ask = (values, delay) => {
  Object.assign(wanted, values);
  until = Date.now() + PATIENCE;
  clearTimeout(sending);
  sending = setTimeout(() => {
    if (stage.checkVisibility()) return choose({ ...wanted, model: data.model });
    wanted = {}; // Nobody looks any more: so it stays as the server has it.
    head = data.head;
  }, delay);
};
const showHead = (one) => {
  if (data.average === "one head" && maps.has(one)) {
    head = one;
    render();
    ask({ head: one }, 350);
  } else ask({ head: one, average: "one head" }, 0);
};
bar.addEventListener("click", (event) => {
  const one = event.target.closest("button");
  if (one && headButtons.contains(one)) showHead(Number(one.dataset.action));
});

// The layer's other heads, one after the other, once it is drawn.
let fetching = "";
const fetchOthers = async () => {
  const key = layerKey;
  if (fetching === key || data.average !== "one head") return;
  fetching = key;
  const { model, ids, layer, heads, permission } = data;
  for (let one = 0; one < heads && layerKey === key; one++) {
    if (maps.has(one)) continue;
    const asked = { model, ids, layer, head: one, permission };
    const answer = await server.head_weights(asked).catch(() => null);
    if (layerKey !== key) break;
    problem.textContent = answer?.refusal || "";
    if (!answer?.weights) break;
    maps.set(one, withLeft(unpacked(answer.weights), ids.length));
    render();
  }
  if (fetching === key) fetching = "";
};

const draw = (next) => {
  const { model, ids, layer, average } = next;
  const key = JSON.stringify([model, ids, layer, average]);
  if (key !== layerKey) {
    layerKey = key;
    maps.clear();
    wanted = {};
    if (data?.heads !== next.heads) {
      const buttons = choice("head", Array.from({ length: next.heads }, (_, one) => String(one)));
      headButtons.replaceWith(buttons);
      headButtons = buttons;
    }
  }
  if (painted && (maps.size === 0 || data.first_drawn !== next.first_drawn)) {
    cursor = null;
    read.textContent = "";
    hideTip();
  }
  data = next;
  problem.textContent = "";
  if (!maps.has(data.head)) maps.set(data.head, withLeft(unpacked(data.weights), ids.length));
  for (const name of ["head", "position"])
    if (wanted[name] === data[name] || Date.now() > until) delete wanted[name];
  head = maps.has(wanted.head) ? wanted.head : data.head;
  position = wanted.position ?? data.position;
  render();
  if (average === "one head" && maps.size < data.heads) setTimeout(fetchOthers, 50);
};
