// Near duplicates of a collection, as POST /collections/{name}/duplicates finds them, line by line.
import { answer, tile, url } from "./explore.js";
import { offer } from "./resolve.js";

const GROUPS = 40; // that are shown
let running = null;

// `changed` is called when points were deleted.
export async function findDuplicates(part, map, changed) {
  if (running) return running.abort();
  const cosine = Number(part.cut.value);
  const leaving = (running = new AbortController());
  part.find.textContent = "Cancel";
  part.groups.replaceChildren();
  const shown = new Map();
  const say = (text) => (part["groups-said"].textContent = text);
  say("Comparing every pair …");
  try {
    if (!(cosine > 0 && cosine <= 1)) throw new Error("the cosine is above 0 and at most 1");
    const response = await answer(
      await fetch(url(`collections/${encodeURIComponent(map.asked)}/duplicates`), {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ cosine }),
        signal: leaving.signal,
      }),
    );
    let rest = "";
    for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop();
      for (const line of lines.filter(Boolean)) read(JSON.parse(line));
    }
    if (shown.size) await offer(part, map.asked, [...shown.values()], changed);
  } catch (error) {
    say(error.name === "AbortError" ? "Cancelled." : `Not found: ${error.message}`);
  } finally {
    running = null;
    part.find.textContent = "Find";
  }

  function read(line) {
    if (line.progress !== undefined) say(`Comparing every pair … ${Math.round(100 * line.progress)} %`);
    else if (line.group) group(line.group);
    else if (line.result) {
      const { groups, duplicates, points } = line.result;
      const more = groups > GROUPS ? `, of which ${GROUPS} are shown` : "";
      say(groups ? `${groups} groups${more}: ${duplicates} of ${points.toLocaleString()} points could go.` : `No two of ${points.toLocaleString()} points are that near.`);
    } else throw new Error(line.detail ?? "the server ended the work");
  }

  function group({ number, size, points }) {
    if (!shown.has(number) && shown.size === GROUPS) return;
    if (!shown.has(number)) {
      const list = document.createElement("ol");
      list.className = "gallery small";
      list.setAttribute("aria-label", `Group ${number + 1}: ${size} pictures`);
      part.groups.append(list);
      shown.set(number, { list, points: [] });
    }
    const { list, points: all } = shown.get(number);
    all.push(...points);
    for (const { id, score } of points) {
      const cosine = document.createElement("b");
      cosine.className = "term";
      cosine.tabIndex = 0;
      cosine.dataset.tip = "Its highest cosine with another picture of the group.";
      cosine.textContent = score === undefined ? "" : score.toFixed(3);
      list.append(tile(map.asked, map.thumbnails, String(id), String(id), cosine));
    }
  }
}
