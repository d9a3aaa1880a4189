// Groups of near duplicates, resolved: which pictures stay is chosen, and the others are deleted from the collection.
import { answer, url } from "./explore.js";

const AT_ONCE = 100; // ids of one request

const number = (value) => (typeof value === "number" ? value : 0);

// What is known of a picture says which is the best of a group: the most pixels, then bytes, then the shortest name.
export function best(points, payloads) {
  const worth = ({ id }) => {
    const said = payloads.get(String(id)) ?? {};
    const name = said.path ?? said.name;
    return [number(said.width) * number(said.height), number(said.bytes), typeof name === "string" ? -name.length : 0];
  };
  return points.reduce((first, second) => {
    const one = worth(first), other = worth(second);
    const at = one.findIndex((value, i) => value !== other[i]);
    return at >= 0 && other[at] > one[at] ? second : first;
  });
}

const parts = (ids) => Array.from({ length: Math.ceil(ids.length / AT_ONCE) }, (_, i) => ids.slice(AT_ONCE * i, AT_ONCE * (i + 1)));

async function post(path, body) {
  const response = await fetch(url(path), {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  if (response.status === 403) throw new Error("this server has keys, and with them the page only reads; delete through the API with a read-write key");
  return (await answer(response)).json();
}

// Adds to each list of a group (see duplicates.js) what its pictures need to be kept or deleted.
export async function offer(part, name, groups, changed) {
  const path = `collections/${encodeURIComponent(name)}/points`;
  const all = groups.flatMap(({ points }) => points.map(({ id }) => id));
  // A number that the browser has rounded would name another point.
  if (all.some((id) => typeof id === "number" && !Number.isSafeInteger(id))) {
    part["groups-said"].textContent += " Their ids are too large for a browser: delete them through the API.";
    return;
  }
  const payloads = new Map();
  for (const ids of parts(all)) {
    for (const { id, payload } of (await post(path, { ids })).result) payloads.set(String(id), payload ?? {});
  }
  const whole = document.createElement("button");
  const told = () => {
    const ids = groups.flatMap((group) => group.others());
    whole.textContent = `Delete the other ${ids.length.toLocaleString()} of all groups shown`;
    whole.disabled = !ids.length;
  };
  for (const group of groups) prepare(group, best(group.points, payloads));
  Object.assign(whole, { type: "button", className: "press" });
  whole.addEventListener("click", () => remove(groups));
  part.groups.prepend(whole);
  told();

  function prepare(group, first) {
    const boxes = group.points.map(({ id }, i) => {
      const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: id === first.id });
      const label = document.createElement("label");
      label.className = "keep";
      label.append(box, "Keep");
      box.setAttribute("aria-label", `Keep ${id}`);
      group.list.children[i].lastElementChild.append(label);
      return box;
    });
    const button = Object.assign(document.createElement("button"), { type: "button", className: "press" });
    // Where none is kept nothing is deleted: a group never vanishes as a whole.
    group.others = () => (boxes.some(({ checked }) => checked) ? group.points.filter((_, i) => !boxes[i].checked).map(({ id }) => id) : []);
    const count = () => {
      const { length } = group.others();
      group.list.querySelectorAll(".tile").forEach((tile, i) => tile.classList.toggle("disliked", length > 0 && !boxes[i].checked));
      button.textContent = boxes.some(({ checked }) => checked) ? `Delete the other ${length}` : "Keep at least one";
      button.disabled = !length;
    };
    for (const box of boxes) box.addEventListener("change", () => (count(), told()));
    button.addEventListener("click", () => remove([group]));
    group.foot = button;
    group.list.after(button);
    count();
  }

  async function remove(some) {
    const ids = some.flatMap((group) => group.others());
    if (!(await sure(part.sure, ids.length, name))) return;
    let gone = 0;
    try {
      for (const each of parts(ids)) {
        await post(`${path}/delete`, { points: each });
        gone += each.length;
      }
      for (const group of some) {
        if (!group.others().length) continue;
        group.list.remove();
        group.foot.remove();
        groups.splice(groups.indexOf(group), 1);
      }
      told();
      if (!groups.length) whole.remove();
      part["groups-said"].textContent = `${gone.toLocaleString()} deleted from ${name}.`;
      changed();
    } catch (error) {
      part["groups-said"].textContent = `${gone.toLocaleString()} of ${ids.length.toLocaleString()} deleted, then refused: ${error.message}`;
    }
  }
}

function sure(dialog, count, name) {
  dialog.querySelector("h2").textContent = `Delete ${count.toLocaleString()} ${count === 1 ? "point" : "points"}?`;
  dialog.querySelector("p").textContent = `They leave the collection ${name} for good: this cannot be undone. Image files are not touched.`;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((done) => dialog.addEventListener("close", () => done(dialog.returnValue === "delete"), { once: true }));
}
