"use strict";
// The script of the page that `selfsv explore` writes: a map on a canvas, lists, a player. It loads nothing.
(() => {
const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);
const sounds = JSON.parse($("sounds").textContent);
const COUNT = data.names.length;
const PAGE_ROWS = 200; // of a list, shown at once
const REACH = 9; // pixels from the pointer to a point
const canvas = $("map"), context = canvas.getContext("2d", { alpha: false }), marks = $("marks").getContext("2d");
const number = (value) => value.toLocaleString("en");
const digits = (value, places) => (value === null ? "–" : value.toFixed(places).replace("-", "−"));

// Colours: hues a golden angle apart, so that neighbouring numbers differ; three lightnesses for those that come near.
const HUES = 360;
const GROUND = [252, 253, 254], WHITE = [255, 255, 255], INK = [31, 41, 51], FADED = [221, 227, 233];
function rgb(code) { // from hue, saturation and lightness (CSS Color 4, section 7.1)
  const hue = (code * 137.508) % 360, saturation = [0.62, 0.55, 0.7][code % 3], lightness = [0.42, 0.58, 0.33][code % 3];
  return [0, 8, 4].map((n) => {
    const k = (n + hue / 30) % 12;
    return Math.round(255 * (lightness - saturation * Math.min(lightness, 1 - lightness) * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  });
}
const mix = (a, b, share) => a.map((value, k) => value + (b[k] - value) * share);
const playable = Uint8Array.from(data.names, (_, point) => (point in sounds ? 1 : 0));

// A grid over the map, as a spatial index: `order` has the points by cell, those of cell c from start[c] to start[c + 1].
const CELLS = 128;
const cell = (value) => Math.min(CELLS - 1, Math.max(0, Math.floor(((value + 1) / 2) * CELLS)));
const start = new Uint32Array(CELLS * CELLS + 1), order = new Uint32Array(COUNT);
const xs = Float64Array.from(data.x), ys = Float64Array.from(data.y, (y) => -y); // a canvas counts downwards
for (let i = 0; i < COUNT; i++) start[cell(ys[i]) * CELLS + cell(xs[i]) + 1]++;
for (let c = 0; c < CELLS * CELLS; c++) start[c + 1] += start[c];
const filled = start.slice();
for (let i = 0; i < COUNT; i++) order[filled[cell(ys[i]) * CELLS + cell(xs[i])]++] = i;

function nearest(px, py) {
  const x = (px - view.x) / view.scale, y = (py - view.y) / view.scale, reach = REACH / view.scale;
  let best = null, least = reach * reach;
  for (let row = cell(y - reach); row <= cell(y + reach); row++) {
    const first = start[row * CELLS + cell(x - reach)], end = start[row * CELLS + cell(x + reach) + 1];
    for (let k = first; k < end; k++) {
      const i = order[k], distance = (xs[i] - x) ** 2 + (ys[i] - y) ** 2;
      if (distance <= least) [best, least] = [i, distance];
    }
  }
  return best;
}

// State -------------------------------------------------------------------------------------------------------------------------
const view = { scale: 1, x: 0, y: 0 }; // pixel = view.x + scale · x
let width = 0, height = 0, ratio = 1, waiting = false, stale = true;
let bySession = false, selected = null, cluster = null, hovered = null;
let tab = "clusters", shownRows = PAGE_ROWS;

// Drawing -----------------------------------------------------------------------------------------------------------------------
// Points are stamped into an image, which takes a twentieth of what `drawImage` does without a GPU. The image is larger than the
// canvas by MARGIN on each side, so that no stamp is cut.
const MARGIN = 64;
let image = null, pixels = null, stride = 0; // pixels: Uint32Array of the image, a, b, g, r from the highest byte on
let shapes = new Map(), stamps = new Map();
const packed = ([r, g, b]) => ((255 << 24) | (Math.round(b) << 16) | (Math.round(g) << 8) | Math.round(r)) >>> 0;

function shape(size) { // the pixels of a disc: where, how much of the edge's colour, how much of the ground is covered
  if (shapes.has(size)) return shapes.get(size);
  const reach = Math.ceil(size + 1), places = [], edges = [], alphas = [];
  for (let y = -reach; y <= reach; y++) for (let x = -reach; x <= reach; x++) {
    const distance = Math.hypot(x, y), alpha = Math.min(1, Math.max(0, size + 0.5 - distance));
    if (!alpha) continue;
    places.push(y * stride + x);
    edges.push(Math.min(1, Math.max(0, distance - size + 0.5 + 0.75 * ratio)));
    alphas.push(Math.round(alpha * 256));
  }
  shapes.set(size, { places: Int32Array.from(places), edges, alphas: Uint16Array.from(alphas) });
  return shapes.get(size);
}

function stamp(fill, edge, size) {
  const { places, edges, alphas } = shape(size);
  return { places, alphas, values: Uint32Array.from(edges, (share) => packed(mix(fill, edge, share))) };
}

function look(code, dark, size) {
  const key = 2 * code + dark + size * 1024;
  if (!stamps.has(key)) stamps.set(key, stamp(rgb(code), dark ? INK : mix(rgb(code), WHITE, 0.6), size));
  return stamps.get(key);
}

function put(i, { places, values, alphas }) {
  const x = Math.round((view.x + xs[i] * view.scale) * ratio), y = Math.round((view.y + ys[i] * view.scale) * ratio);
  if (x < -8 * ratio || y < -8 * ratio || x >= canvas.width + 8 * ratio || y >= canvas.height + 8 * ratio) return;
  const base = (y + MARGIN) * stride + x + MARGIN;
  for (let k = 0; k < places.length; k++) {
    const at = base + places[k], over = values[k], share = alphas[k];
    if (share === 256) pixels[at] = over;
    else { // red and blue at once, then green
      const under = pixels[at], rest = 256 - share;
      const redBlue = (((over & 0xff00ff) * share + (under & 0xff00ff) * rest) >>> 8) & 0xff00ff;
      pixels[at] = (0xff000000 | redBlue | ((((over & 0xff00) * share + (under & 0xff00) * rest) >>> 8) & 0xff00)) >>> 0;
    }
  }
}

const radius = () => Math.min(6, Math.max(COUNT > 4000 ? 2.5 : 3.5, 2.6 * Math.sqrt(view.scale / whole().scale)));
const size = () => Math.round(radius() * ratio * 2) / 2;

function draw() {
  waiting = false;
  const codes = bySession ? data.session : data.labels, disc = size(), faded = cluster !== null;
  if (stale) {
    pixels.fill(packed(GROUND));
    const grey = faded ? stamp(FADED, FADED, disc - 0.5) : null;
    for (let i = 0; i < COUNT; i++) if (!faded) put(i, look(codes[i] % HUES, playable[i], disc)); else if (data.labels[i] !== cluster) put(i, grey);
    if (faded) for (let i = 0; i < COUNT; i++) if (data.labels[i] === cluster) put(i, look(codes[i] % HUES, playable[i], disc));
    context.putImageData(image, -MARGIN, -MARGIN);
    stale = false;
  }
  marks.clearRect(0, 0, canvas.width, canvas.height);
  if (hovered !== null) ring(hovered, disc + 3 * ratio, 1.5);
  if (selected !== null) ring(selected, disc + 3 * ratio, 3);
}

function ring(i, distance, line) {
  marks.beginPath();
  marks.arc((view.x + xs[i] * view.scale) * ratio, (view.y + ys[i] * view.scale) * ratio, distance, 0, 2 * Math.PI);
  marks.lineWidth = line * ratio;
  marks.strokeStyle = "#1f2933";
  marks.stroke();
}

function redraw(points = true) {
  stale ||= points;
  if (!waiting) requestAnimationFrame(draw);
  waiting = true;
}

function whole() {
  const scale = Math.max(1, Math.min(width, height) / 2 - 24);
  return { scale, x: width / 2, y: height / 2 };
}

function resize() {
  const before = width ? { x: (width / 2 - view.x) / view.scale, y: (height / 2 - view.y) / view.scale, zoom: view.scale / whole().scale } : null;
  ratio = window.devicePixelRatio || 1;
  [width, height] = [canvas.clientWidth, canvas.clientHeight];
  for (const layer of [canvas, $("marks")]) [layer.width, layer.height] = [Math.round(width * ratio), Math.round(height * ratio)];
  stride = canvas.width + 2 * MARGIN;
  image = context.createImageData(stride, canvas.height + 2 * MARGIN);
  pixels = new Uint32Array(image.data.buffer);
  [shapes, stamps] = [new Map(), new Map()];
  Object.assign(view, whole());
  if (before) {
    view.scale *= before.zoom;
    [view.x, view.y] = [width / 2 - before.x * view.scale, height / 2 - before.y * view.scale];
  }
  redraw();
}

function zoom(factor, px = width / 2, py = height / 2) {
  const scale = Math.min(whole().scale * 400, Math.max(whole().scale * 0.5, view.scale * factor));
  view.x = px - ((px - view.x) * scale) / view.scale;
  view.y = py - ((py - view.y) * scale) / view.scale;
  view.scale = scale;
  redraw();
}

function show(i) { // bring a point into view
  const [px, py] = position(i);
  if (px < 20 || py < 20 || px > width - 20 || py > height - 20) {
    view.x += width / 2 - px;
    view.y += height / 2 - py;
  }
}

const position = (i) => [view.x + xs[i] * view.scale, view.y + ys[i] * view.scale];

// Selecting ---------------------------------------------------------------------------------------------------------------------
const origin = new Map((data.changed ? data.changed.rows : []).map(([point, from]) => [point, from]));
const distrust = new Map((data.distrusted ? data.distrusted.rows : []).map(([point, loss, decision]) => [point, [loss, decision]]));
const fromText = (from) => (from < 0 ? "a cluster without counterpart" : `cluster ${from}`);
const sessionName = (i) => data.sessions[data.session[i]] || "–";

function select(i, play = $("at-once").checked) {
  selected = i;
  $("nothing").hidden = i !== null;
  $("details").hidden = i === null;
  $("player").hidden = i === null || !playable[i];
  $("silent").hidden = i === null || playable[i];
  $("player").pause();
  if (i !== null) {
    $("name").textContent = data.names[i];
    facts(i);
    if (playable[i]) {
      $("player").src = sounds[i];
      if (play) $("player").play().catch(() => {}); // a browser may refuse before the first click
    }
    show(i);
  }
  for (const row of document.querySelectorAll("tr[data-point]")) row.classList.toggle("chosen", Number(row.dataset.point) === i);
  redraw();
}

function facts(i) {
  const label = element("button", `cluster ${data.labels[i]}`, "link");
  label.type = "button";
  label.onclick = () => chooseCluster(data.labels[i], true);
  const lines = [["pseudo label", label], ["cosine with centroid", digits(data.similarity[i], 3)], ["session", sessionName(i)]];
  if (origin.has(i)) lines.push(["came from", fromText(origin.get(i))]);
  if (distrust.has(i)) lines.push(["loss-gate", `${distrust.get(i)[1]}, loss ${digits(distrust.get(i)[0], 2)}`]);
  $("facts").replaceChildren(...lines.flatMap(([term, value]) => [element("dt", term), element("dd", value)]));
}

function chooseCluster(label, open = false) {
  cluster = cluster === label && !open ? null : label;
  if (open) openTab("clusters");
  else fillRows();
  if (cluster !== null) document.querySelector("tr.row.chosen[data-cluster]")?.scrollIntoView({ block: "nearest" });
  redraw();
}

// Lists -------------------------------------------------------------------------------------------------------------------------
function element(name, content = "", className = "") {
  const made = document.createElement(name);
  made.className = className;
  made.append(content); // text stays text
  return made;
}

function row(cells, classes) {
  const made = element("tr", "", "row");
  made.append(...cells.map((content, k) => element("td", content, classes[k])));
  return made;
}

function playButton(i) {
  const button = element("button", "▶");
  button.type = "button";
  button.disabled = i === undefined || !playable[i];
  button.setAttribute("aria-label", button.disabled ? "no sound in the page" : `Play ${data.names[i]}`);
  button.title = button.disabled ? "no sound in the page" : "play";
  button.onclick = (event) => {
    event.stopPropagation();
    select(i, true);
  };
  return button;
}

function swatch(label) {
  const made = element("span"), dot = element("span", "", "dot");
  if (!bySession) {
    dot.style.background = `rgb(${rgb(label % HUES)})`;
    made.append(dot);
  }
  made.append(String(label));
  return made;
}

function pointRow(i, cells, classes) {
  const made = row([playButton(i), ...cells], ["play", ...classes]);
  made.dataset.point = i;
  made.classList.toggle("chosen", i === selected);
  made.onclick = () => select(i);
  return made;
}

const byLabel = new Map(); // playable points of each cluster, the nearest to its centroid first
for (let i = 0; i < COUNT; i++) if (playable[i]) byLabel.set(data.labels[i], [...(byLabel.get(data.labels[i]) || []), i]);
for (const points of byLabel.values()) points.sort((a, b) => data.similarity[b] - data.similarity[a]);

function clusterRows([label, size, tightness, sessions]) {
  const points = byLabel.get(label) || [];
  const made = row([playButton(points[0]), swatch(label), number(size), digits(tightness, 3), number(sessions)], ["play", "text"]);
  made.dataset.cluster = label;
  made.onclick = () => chooseCluster(label);
  if (label !== cluster) return [made];
  made.classList.add("chosen");
  const body = element("tbody"), inner = element("table"), place = element("td");
  body.append(...points.map((i) => pointRow(i, [data.names[i], digits(data.similarity[i], 3)], ["text"])));
  if (!points.length) body.append(element("tr", element("td", "No sound of this cluster is in the page.", "text aside")));
  inner.append(body);
  place.append(inner);
  place.colSpan = 5;
  return [made, element("tr", place, "members")];
}

const ORDERS = {
  large: (a, b) => b[1] - a[1],
  small: (a, b) => a[1] - b[1],
  tight: (a, b) => b[2] - a[2],
  loose: (a, b) => a[2] - b[2],
};
const LISTS = {
  clusters: {
    head: ["", "cluster", "size", "tightness", "sessions"], classes: ["play", "text"],
    rows: () => [...data.clusters].sort(ORDERS[$("order").value]), fill: clusterRows,
  },
  changed: {
    head: ["", "utterance", "from", "to", "cosine"], classes: ["play", "text"],
    rows: () => (data.changed ? data.changed.rows : []),
    fill: ([i, from]) => [pointRow(i, [data.names[i], from < 0 ? "none" : swatch(from), swatch(data.labels[i]), digits(data.similarity[i], 3)], ["text"])],
  },
  distrusted: {
    head: ["", "utterance", "cluster now", "loss", "decision"], classes: ["play", "text"],
    rows: () => (data.distrusted ? data.distrusted.rows : []),
    fill: ([i, loss, decision]) => [pointRow(i, [data.names[i], swatch(data.labels[i]), digits(loss, 2), decision], ["text"])],
  },
};

function fillRows() {
  const list = LISTS[tab], rows = list.rows();
  const table = element("table"), head = element("thead"), body = element("tbody"), line = element("tr");
  line.append(...list.head.map((title, k) => element("th", title, list.classes[k])));
  head.append(line);
  const at = tab === "clusters" ? rows.findIndex(([label]) => label === cluster) : -1;
  shownRows = Math.max(shownRows, at + 1);
  body.append(...rows.slice(0, shownRows).flatMap(list.fill));
  table.append(head, body);
  const scroll = $("rows").scrollTop;
  $("rows").replaceChildren(...(rows.length ? [table] : []));
  $("rows").hidden = !rows.length;
  $("rows").scrollTop = scroll;
  $("more").hidden = rows.length <= shownRows;
}

function openTab(name) {
  if (tab !== name) shownRows = PAGE_ROWS;
  tab = name;
  for (const other of Object.keys(LISTS)) {
    $(`tab-${other}`).setAttribute("aria-selected", other === name);
    $(`about-${other}`).hidden = other !== name;
  }
  $("order").hidden = name !== "clusters";
  fillRows();
}

function colourBy(session) {
  bySession = session;
  $("by-label").setAttribute("aria-pressed", !session);
  $("by-session").setAttribute("aria-pressed", session);
  fillRows();
  redraw();
}

// Events ------------------------------------------------------------------------------------------------------------------------
const pointers = new Map(); // those that are down, by id: where they are
let travelled = 0;
const place = (event) => {
  const box = canvas.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
};
const spread = () => {
  const [[ax, ay], [bx, by]] = [...pointers.values()];
  return [Math.hypot(ax - bx, ay - by), (ax + bx) / 2, (ay + by) / 2];
};

canvas.addEventListener("pointerdown", (event) => {
  if (!pointers.size) travelled = 0;
  pointers.set(event.pointerId, place(event));
  canvas.setPointerCapture(event.pointerId);
});
canvas.addEventListener("pointermove", (event) => {
  const [px, py] = place(event);
  if (!pointers.has(event.pointerId)) return hover(px, py);
  const [x, y] = pointers.get(event.pointerId), before = pointers.size === 2 ? spread() : null;
  pointers.set(event.pointerId, [px, py]);
  travelled += Math.hypot(px - x, py - y);
  if (before) {
    const [distance, cx, cy] = spread();
    zoom(distance / Math.max(1, before[0]), cx, cy);
    view.x += cx - before[1];
    view.y += cy - before[2];
  } else if (travelled > 4) {
    canvas.classList.add("moving");
    view.x += px - x;
    view.y += py - y;
    hover(null);
  }
  return redraw();
});
const released = (event) => {
  pointers.delete(event.pointerId);
  canvas.classList.remove("moving");
};
canvas.addEventListener("pointerup", (event) => {
  const wasDown = pointers.has(event.pointerId);
  released(event);
  if (wasDown && travelled <= 4) pick(...place(event));
});
canvas.addEventListener("pointercancel", released);
canvas.addEventListener("pointerleave", () => hover(null));
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  const [px, py] = place(event), pixels = event.deltaMode ? 30 * event.deltaY : event.deltaY;
  zoom(Math.exp(-0.0015 * Math.max(-400, Math.min(400, pixels))), px, py);
}, { passive: false });
canvas.addEventListener("keydown", (event) => {
  const moves = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] }, move = moves[event.key];
  if (event.key === "+" || event.key === "=") zoom(1.4);
  else if (event.key === "-") zoom(1 / 1.4);
  else if (move) [view.x, view.y] = [view.x + move[0], view.y + move[1]];
  else return;
  event.preventDefault();
  redraw();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  cluster = null;
  select(null);
  fillRows();
});

function hover(px, py) {
  const found = px === null ? null : nearest(px, py);
  if (found !== null) {
    const tip = $("tip");
    tip.replaceChildren(data.names[found], document.createElement("br"), element("small", `cluster ${data.labels[found]} · session ${sessionName(found)}${playable[found] ? " · can be played" : ""}`));
    tip.hidden = false;
    tip.style.left = `${Math.min(px + 14, Math.max(0, width - tip.offsetWidth - 6))}px`;
    tip.style.top = `${py + tip.offsetHeight + 24 > height ? py - tip.offsetHeight - 12 : py + 16}px`;
  } else $("tip").hidden = true;
  if (found !== hovered) {
    hovered = found;
    redraw(false);
  }
}

function pick(px, py) {
  const found = nearest(px, py);
  if (found === null && cluster !== null) chooseCluster(cluster); // beside all points: no cluster any more
  select(found);
}

$("by-label").onclick = () => colourBy(false);
$("by-session").onclick = () => colourBy(true);
$("zoom-in").onclick = () => zoom(1.6);
$("zoom-out").onclick = () => zoom(1 / 1.6);
$("whole").onclick = () => {
  Object.assign(view, whole());
  redraw();
};
$("find").onchange = () => {
  const words = $("find").value.trim().toLowerCase();
  const found = words ? data.names.findIndex((name) => name.toLowerCase().includes(words)) : -1;
  $("find").setCustomValidity(words && found < 0 ? "No utterance on the map has this in its name." : "");
  $("find").reportValidity();
  if (found >= 0) select(found);
};
$("order").onchange = fillRows;
$("more").onclick = () => {
  shownRows += PAGE_ROWS;
  fillRows();
};
for (const name of Object.keys(LISTS)) $(`tab-${name}`).onclick = () => openTab(name);
new ResizeObserver(resize).observe(canvas);
resize();
openTab("clusters");
window.explore = { position, select, state: () => ({ selected, cluster, hovered, scale: view.scale }) }; // for the console, and for tests
})();
