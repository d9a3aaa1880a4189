// The map of a collection: points in WebGL, their pictures when pointed at, a lasso, colours, near duplicates.
import createScatterplot from "./regl-scatterplot.js";
import { findDuplicates } from "./duplicates.js";

const LIGHT = ["#0f766e", "#c2410c", "#4338ca", "#a16207", "#be185d", "#0369a1", "#4d7c0f", "#7e22ce", "#b91c1c", "#475569"];
const DARK = ["#5fd0c2", "#fb923c", "#a5b4fc", "#facc15", "#f9a8d4", "#7dd3fc", "#bef264", "#d8b4fe", "#fca5a5", "#cbd5e1"];
const SCALE = 16; // steps of a scale of numbers
const NONE = 255; // the code of a point without a value
const SHOWN = 120; // pictures of a choice
const base = new URL("./", document.baseURI);

export const url = (path) => new URL(path, base).href;

export async function answer(response) {
  if (response.ok) return response;
  const said = await response.json().catch(() => null);
  throw new Error(said?.detail ?? `the server answers ${response.status}`);
}

export function tile(collection, thumbnails, id, words, more = "") {
  const item = document.createElement("li");
  item.className = "tile";
  if (thumbnails) {
    const image = new Image(128, 128);
    image.loading = "lazy";
    image.alt = words;
    image.src = url(`collections/${encodeURIComponent(collection)}/points/${encodeURIComponent(id)}/thumbnail`);
    item.append(image);
  } else {
    item.insertAdjacentHTML("beforeend", '<span class="no-picture">no thumbnail kept</span>');
  }
  const under = document.createElement("div");
  const name = document.createElement("span");
  name.className = "words";
  name.textContent = words;
  under.append(name);
  if (more) under.append(more);
  item.append(under);
  return item;
}

// A header of JSON behind its length, then arrays.
export function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  return { head, at: 4 + length };
}

export function start(element, trigger) {
  const root = element.querySelector(".explore");
  const part = Object.fromEntries([...root.querySelectorAll("[data-part]")].map((each) => [each.dataset.part, each]));
  const dark = () => Boolean(element.closest(".dark")) || document.body.classList.contains("dark");
  let plot = null, map = null, turn = 0, hovering = 0;

  const state = (name, title = "", text = "", make = false) => {
    root.dataset.state = name;
    part.state.querySelector("h2").textContent = title;
    part.state.querySelector("p").textContent = text;
    part.state.querySelector("button")?.remove();
    if (make) part.state.append(part.none.content.cloneNode(true));
  };

  const rgb = (name) => getComputedStyle(root).getPropertyValue(name).trim();

  async function collections(choose) {
    const found = await (await answer(await fetch(url("collections")))).json();
    const names = found.result.collections.map((each) => each.name);
    const before = choose ?? part.collection.value;
    part.collection.replaceChildren(...names.map((name) => new Option(name)));
    part.collection.disabled = !names.length;
    if (!names.length) {
      map = null;
      state("empty", "No collection yet", "A map needs points: make a collection of 64 example pictures, or index a folder.", true);
      return;
    }
    part.collection.value = names.includes(before) ? before : names[0];
    if (choose || !map || map.asked !== part.collection.value) await draw();
  }

  async function draw() {
    const name = part.collection.value, mine = ++turn;
    state("loading", "Reading the collection", "Its vectors are laid on a plane.");
    choose([]);
    try {
      const response = await answer(await fetch(url(`page/map/${encodeURIComponent(name)}`)));
      const buffer = await response.arrayBuffer();
      if (mine !== turn) return;
      const arrived = performance.now();
      const { head, at } = unpack(buffer);
      if (!head.shown) return state("empty", "Nothing in here yet", "This collection has no points: write some into it.");
      const n = head.shown;
      map = {
        ...head,
        asked: name,
        x: new Float32Array(buffer, at, n),
        y: new Float32Array(buffer, at + 4 * n, n),
        cluster: new Uint8Array(buffer, at + 8 * n, n),
        ids: new TextDecoder().decode(new Uint8Array(buffer, at + 9 * n)).split("\n"),
      };
      part.colour.replaceChildren(new Option("cluster", ""), ...head.fields.map((key) => new Option(key)));
      part.count.textContent =
        n === head.points ? `${n.toLocaleString()} points` : `${n.toLocaleString()} of ${head.points.toLocaleString()} points`;
      part.explained.textContent = `${(100 * head.explained).toFixed(0)} % of the variance`;
      prepare();
      await paint(map.cluster, clusterNames(map.cluster, head.clusters));
      await plot.reset({ preventEvent: true });
      root.dataset.ms = String(Math.round(performance.now() - arrived));
      state("ready");
    } catch (error) {
      if (mine === turn) state("failed", "No map", error.message);
    }
  }

  function clusterNames(codes, count) {
    const counts = new Array(count).fill(0);
    for (const code of codes) counts[code] += 1;
    return counts.map((size, index) => ({ text: `cluster ${index + 1}`, size }));
  }

  function prepare() {
    if (plot) return;
    plot = createScatterplot({
      canvas: part.canvas,
      width: "auto",
      height: "auto",
      colorBy: "valueA",
      lassoOnLongPress: true,
      lassoMinDelay: 5,
      opacityBy: "density",
      pointSizeSelected: 1,
      pointOutlineWidth: 1,
      showReticle: false,
    });
    if (!plot.get("regl")) throw new Error("this browser draws no WebGL, which the map needs");
    plot.subscribe("pointover", hover);
    plot.subscribe("pointout", () => { hovering = 0; part.hover.hidden = true; });
    plot.subscribe("select", ({ points }) => choose(points));
    plot.subscribe("deselect", () => choose([]));
  }

  async function paint(codes, names, scale = null) {
    const palette = dark() ? DARK : LIGHT;
    const soft = rgb("--ink-soft");
    let colours, z;
    if (scale) {
      colours = Array.from({ length: SCALE }, (_, i) => blend(palette[1], palette[0], i / (SCALE - 1))).concat(soft);
      z = Float32Array.from(codes, (code) => (code === NONE ? SCALE : Math.floor((code * SCALE) / 255)));
    } else {
      colours = names.map((_, i) => palette[i % palette.length]).concat(soft);
      z = Float32Array.from(codes, (code) => (code === NONE ? names.length : code));
    }
    plot.set({
      pointColor: colours,
      pointColorActive: rgb("--ink"),
      pointColorHover: rgb("--ink"),
      lassoColor: rgb("--accent"),
      backgroundColor: rgb("--paper"),
      pointSize: map.shown > 20000 ? 3 : map.shown > 2000 ? 5 : 9,
      opacity: map.shown > 20000 ? 0.6 : 0.9,
      opacityBy: null,
    });
    await plot.draw({ x: map.x, y: map.y, z }, { zDataType: "categorical" });
    part.legend.replaceChildren(
      ...(scale
        ? [entry(colours[0], scale[0]), entry(colours[SCALE - 1], scale[1])]
        : names.map(({ text, size }, i) => entry(colours[i], text, size))),
    );
  }

  const blend = (from, to, share) => {
    const at = (hex, i) => Number.parseInt(hex.slice(1 + 2 * i, 3 + 2 * i), 16);
    const mixed = [0, 1, 2].map((i) => Math.round(at(from, i) + share * (at(to, i) - at(from, i))));
    return `#${mixed.map((value) => value.toString(16).padStart(2, "0")).join("")}`;
  };

  function entry(colour, text, size) {
    const item = document.createElement("li");
    const dot = document.createElement("i");
    dot.style.background = colour;
    item.append(dot, size === undefined ? text : `${text} · ${size.toLocaleString()}`);
    return item;
  }

  async function recolour() {
    const key = part.colour.value;
    if (!map) return;
    try {
      if (!key) return await paint(map.cluster, clusterNames(map.cluster, map.clusters));
      const asked = new URL(url("page/colours"));
      asked.searchParams.set("token", map.token);
      asked.searchParams.set("key", key);
      const buffer = await (await answer(await fetch(asked))).arrayBuffer();
      const { head, at } = unpack(buffer);
      const codes = new Uint8Array(buffer, at, map.shown);
      const named = head.categories?.map((text, i) => ({ text, size: head.counts[i] }));
      await paint(codes, named ?? [], named ? null : [String(head.low), String(head.high)]);
    } catch (error) {
      state("failed", "Not coloured", error.message);
    }
  }

  async function hover(index) {
    hovering = index + 1;
    const [x, y] = plot.getScreenPosition(index);
    const id = map.ids[index];
    const words = document.createElement("p");
    words.textContent = `id ${id}`;
    part.hover.replaceChildren(words);
    if (map.thumbnails) part.hover.prepend(tile(map.asked, true, id, "").firstChild);
    part.hover.style.left = `${Math.min(x + 14, part.canvas.clientWidth - 180)}px`;
    part.hover.style.top = `${Math.min(y + 14, part.canvas.clientHeight - 190)}px`;
    part.hover.hidden = false;
    await new Promise((done) => setTimeout(done, 80)); // while the pointer runs over many, none is asked for
    if (hovering !== index + 1) return;
    const response = await fetch(url(`collections/${encodeURIComponent(map.asked)}/points/${encodeURIComponent(id)}`));
    if (!response.ok || hovering !== index + 1) return;
    const payload = (await response.json()).result.payload ?? {};
    words.textContent = [`id ${id}`, ...Object.entries(payload).slice(0, 5).map(([key, value]) => `${key}: ${JSON.stringify(value)}`)].join("\n");
  }

  function choose(points) {
    const some = points.length > 0;
    part["picked-title"].textContent = some ? `${points.length.toLocaleString()} chosen` : "Nothing chosen";
    part["picked-hint"].hidden = some && points.length <= SHOWN;
    part["picked-hint"].textContent = some
      ? `The first ${SHOWN} of them:`
      : "Draw a loop around points with the lasso, or hold Shift and drag. Their pictures appear here.";
    part.picked.replaceChildren(...[...points].slice(0, SHOWN).map((i) => tile(map.asked, map.thumbnails, map.ids[i], map.ids[i])));
  }

  // Fetched rather than linked to: a refusal is told here, and not saved as a file.
  async function save() {
    if (!map) return;
    const asked = new URL(url("page/export"));
    asked.searchParams.set("token", map.token);
    part.save.disabled = true;
    part.saved.textContent = "Writing the file …";
    try {
      const file = await (await answer(await fetch(asked))).blob();
      const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(file), download: `${map.asked}.parquet` });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
      part.saved.textContent = "";
    } catch (error) {
      part.saved.textContent = `Not saved: ${error.message}`;
    } finally {
      part.save.disabled = false;
    }
  }

  root.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button?.dataset.mode) {
      for (const each of root.querySelectorAll("[data-mode]")) each.setAttribute("aria-pressed", String(each === button));
      plot?.set({ mouseMode: button.dataset.mode });
    } else if (button?.dataset.act) {
      state("loading", "Making the collection", "64 pictures are embedded.");
      trigger({ act: button.dataset.act });
    }
  });
  part.whole.addEventListener("click", () => plot?.reset());
  part.save.addEventListener("click", save);
  part.collection.addEventListener("change", draw);
  part.colour.addEventListener("change", recolour);
  part.find.addEventListener("click", () => map && findDuplicates(part, map, draw));
  part.canvas.addEventListener("keydown", (event) => {
    if (event.key === "Escape") plot?.deselect();
  });

  const told = document.querySelector("#told");
  if (told) {
    new MutationObserver(() => {
      const chosen = told.querySelector("[data-select]");
      if (chosen) collections(chosen.dataset.select).catch(failed);
      else if (told.querySelector("[role=alert]")) state("failed", "Not made", told.textContent.trim());
    }).observe(told, { childList: true, subtree: true });
  }
  const failed = (error) => state("failed", "No map", error.message);
  new MutationObserver(() => recolour()).observe(document.body, { attributes: true, attributeFilter: ["class"] });
  new IntersectionObserver((entries) => entries.some((each) => each.isIntersecting) && collections().catch(failed)).observe(root);
}
