// Evaluations by the API's /evaluations: begun, watched by polling, cancelled, and their reports in a frame that may do nothing.
const url = (path) => new URL(path, new URL("./", document.baseURI)).href;
const EVERY = 1000; // milliseconds between two questions
const WORDS = {
  queued: "waits for its turn",
  running: "running",
  done: "done",
  failed: "failed",
  cancelled: "cancelled",
  interrupted: "interrupted by a restart of the server",
};

async function ask(path, options = {}) {
  const response = await fetch(url(path), options);
  const said = await response.json().catch(() => null);
  if (!response.ok) throw refusal(response.status, said);
  return said;
}

function refusal(status, said) {
  const keys = "this server has keys, and with them the page only reads; use the API or amcl-serve evaluate";
  return new Error(status === 403 ? keys : (said?.detail ?? `the server answers ${status}`));
}

// An archive goes by XMLHttpRequest, which tells how much of it has gone; `leaving` ends it.
function send(data, leaving, gone) {
  return new Promise((done, fail) => {
    const request = new XMLHttpRequest();
    request.open("POST", url("evaluations"));
    request.responseType = "json";
    request.upload.addEventListener("progress", ({ loaded, total }) => gone(loaded, total));
    request.addEventListener("load", () => {
      if (request.status === 202) done(request.response);
      else fail(refusal(request.status, request.response));
    });
    request.addEventListener("error", () => fail(new Error("the server took no more of the archive: it is too large for it, or cannot be reached")));
    request.addEventListener("abort", () => fail(new Error("Cancelled: nothing was kept of the archive.")));
    leaving.addEventListener("abort", () => request.abort());
    request.send(data);
  });
}

export function start(element) {
  const root = element.querySelector(".evaluate");
  const part = Object.fromEntries([...root.querySelectorAll("[data-part]")].map((each) => [each.dataset.part, each]));
  const form = root.querySelector("form");
  let watched = null, timer = 0, uploading = null;

  const say = (text, bad = false) => {
    part.said.textContent = text;
    part.said.className = bad ? "note note-bad" : "note";
    part.said.setAttribute("role", bad ? "alert" : "status");
  };
  const failed = (error) => say(error.message, true);

  async function fill() {
    const [{ result }, { data }] = await Promise.all([ask("collections"), ask("models")]);
    const names = result.collections.map((each) => each.name);
    const put = (select, options) => {
      const before = select.value;
      select.replaceChildren(...options);
      if (options.some((each) => each.value === before)) select.value = before;
    };
    put(form.elements.collection, names.map((name) => new Option(name)));
    put(form.elements.model, data.map(({ name }) => new Option(name)));
    put(form.elements.against, [new Option("none", ""), ...data.map(({ name }) => new Option(name))]);
    if (!names.length) say("No collection yet: choose an archive, make the example collection in Search, or index a folder.");
    await list();
  }

  async function list() {
    const { data } = await ask("evaluations");
    part.jobs.replaceChildren(...data.slice(0, 20).map(line));
    if (!data.length) part.jobs.innerHTML = "<li>None yet. They stay here, with their reports, when the server starts again.</li>";
    const open = data.find(({ status }) => status === "queued" || status === "running");
    if (open && !watched && !uploading) watch(open.id);
  }

  function line(job) {
    const item = document.createElement("li");
    const words = document.createElement("span");
    const versus = job.against ? ` against ${job.against}` : "";
    words.textContent = `${job.dataset} · ${job.model}${versus} · ${job.images.toLocaleString()} images · ${WORDS[job.status]}`;
    if (job.error) words.textContent += `: ${job.error.detail}`;
    item.append(words);
    if (job.status === "done") {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "press";
      button.textContent = "Report";
      button.setAttribute("aria-label", `Report of ${job.dataset} by ${job.model}`);
      button.addEventListener("click", () => show(job.id));
      const link = document.createElement("a");
      link.href = url(`evaluations/${job.id}/report`);
      link.target = "_blank";
      link.rel = "noopener";
      link.textContent = "by itself";
      item.append(button, link);
    }
    return item;
  }

  function show(id) {
    part.report.src = url(`evaluations/${id}/report`);
    part.report.hidden = false;
    part.report.scrollIntoView({ block: "start" });
  }

  function watch(id) {
    watched = id;
    clearTimeout(timer);
    look();
  }

  async function look() {
    try {
      const asked = watched, job = await ask(`evaluations/${asked}`);
      if (asked !== watched) return;
      const { stage, done, total } = job.progress;
      part.run.hidden = false;
      part.title.textContent = `${job.dataset}: ${WORDS[job.status]}`;
      part.stage.textContent = total ? `${stage}, ${done.toLocaleString()} of ${total.toLocaleString()}` : stage;
      if (total) Object.assign(part.bar, { max: total, value: done });
      else part.bar.removeAttribute("value");
      if (job.status === "queued" || job.status === "running") {
        timer = setTimeout(look, EVERY);
        return;
      }
      part.run.hidden = true;
      watched = null;
      if (job.status === "done") {
        say(`${job.dataset} is evaluated.`);
        show(job.id);
      } else say(`${job.dataset}: ${WORDS[job.status]}${job.error ? `: ${job.error.detail}` : ""}`, job.status === "failed");
      await list();
    } catch (error) {
      watched = null;
      part.run.hidden = true;
      failed(error);
    }
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (uploading) return;
    const archive = form.elements.archive.files[0];
    const asked = Object.fromEntries([...new FormData(form)].filter(([name, value]) => name !== "archive" && value.trim()));
    if (!archive && !asked.collection) return say("Choose a collection or an archive.", true);
    try {
      const job = archive ? await upload(archive, asked) : await ask("evaluations", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(asked),
      });
      say(`${job.dataset} is being evaluated. You may leave; it goes on.`);
      part.report.hidden = true;
      watch(job.id);
    } catch (error) {
      failed(error);
    }
  });
  async function upload(archive, { model, against }) {
    const data = new FormData();
    data.append("archive", archive);
    data.append("model", model);
    if (against) data.append("against", against);
    uploading = new AbortController();
    clearTimeout(timer); // one that runs is watched again afterwards
    watched = null;
    say("");
    part.run.hidden = false;
    part.title.textContent = `${archive.name}: on its way`;
    try {
      return await send(data, uploading.signal, (loaded, total) => {
        Object.assign(part.bar, { max: total, value: loaded });
        const mib = (bytes) => (bytes / 2 ** 20).toFixed(1);
        part.stage.textContent = loaded < total ? `uploading, ${mib(loaded)} of ${mib(total)} MiB` : "the server unpacks it";
        if (loaded >= total) part.bar.removeAttribute("value");
      });
    } finally {
      uploading = null;
      part.run.hidden = true;
    }
  }

  const choice = () => {
    const archive = form.elements.archive.files[0];
    // What an archive shows is said by its folders.
    for (const name of ["collection", "labels"]) form.elements[name].disabled = Boolean(archive);
    part.clear.hidden = !archive;
  };
  form.elements.archive.addEventListener("change", choice);
  part.clear.addEventListener("click", () => {
    form.elements.archive.value = "";
    choice();
  });
  part.cancel.addEventListener("click", () => uploading ? uploading.abort() : watched && ask(`evaluations/${watched}`, { method: "DELETE" }).catch(failed));
  new IntersectionObserver((entries) => entries.some((each) => each.isIntersecting) && fill().catch(failed)).observe(root);
}
