// Finds the places for charts, draws each as soon as it has a width, and again when that changes.
"use strict";

const FIGURES = JSON.parse(document.getElementById("figures").textContent);
const CHOSEN = {};
const CHARTS = { curve, forest, search };

function drawing(place) {
  const [key, kind, part] = place.dataset.chart.split(" ");
  const figures = FIGURES[key];
  if (figures.kind !== "inside") return (width) => CHARTS[figures.kind](figures, width);
  const point = figures.points[CHOSEN[key] ?? 0];
  if (!point[kind]) return () => null;
  return (width) => ({ quantiles, waterfall, engine })[kind](point, part, width);
}

function draw(place) {
  const plot = place.querySelector(".plot");
  const width = Math.floor(plot.clientWidth);
  if (!width || plot.dataset.width === String(width)) return;
  plot.dataset.width = width;
  const drawn = drawing(place)(width);
  plot.replaceChildren(...(drawn ? [drawn] : [quiet("not recorded at this load")]));
  if (drawn) drawn.setAttribute("aria-hidden", "true"); // its place has a label, and there is a table
}

function attempt(place) {
  try {
    draw(place);
  } catch (error) {
    console.error(place.dataset.chart, error);
    place.querySelector(".plot").replaceChildren(quiet("cannot be drawn; the figures are in the tables"));
  }
}

function quiet(text, name = "p") {
  const said = document.createElement(name);
  said.className = "quiet";
  said.textContent = text;
  return said;
}

// A chart after the other, with time in between for who scrolls.
const waiting = new Set();
function soon(place) {
  if (!waiting.size) requestAnimationFrame(work);
  waiting.add(place);
}
function work() {
  const until = performance.now() + 30;
  for (const place of waiting) {
    waiting.delete(place);
    attempt(place);
    if (performance.now() > until) break;
  }
  if (waiting.size) requestAnimationFrame(work);
  else document.documentElement.dataset.drawn = String(document.querySelectorAll(".plot svg").length);
}

// The table of a chart inside a load point is made when it is asked for.
function addTable(place) {
  const [key, kind, part] = place.dataset.chart.split(" ");
  const fold = document.createElement("details");
  const title = fold.appendChild(document.createElement("summary"));
  const caption = place.querySelector("figcaption").textContent;
  title.textContent = "As a table";
  title.setAttribute("aria-label", `As a table: ${caption}`);
  const box = fold.appendChild(document.createElement("div"));
  Object.assign(box, { className: "wide", tabIndex: 0, ariaLabel: caption });
  box.setAttribute("role", "region");
  fold.addEventListener("toggle", () => {
    if (!fold.open) return;
    const { points, names } = FIGURES[key];
    box.replaceChildren(asTable(tableOf(points[CHOSEN[key] ?? 0], kind, part, names), caption));
  });
  if (kind !== "quantiles") place.querySelector("figcaption").after(quiet(kind === "waterfall" ? WATERFALL_KEYS : part === "cache" ? "" : ENGINE_KEYS));
  place.append(fold);
}

document.documentElement.classList.add("js");
const sizes = new ResizeObserver((entries) => entries.forEach(({ target }) => soon(target.parentElement)));
// What can be drawn in a second is there when the page is first shown, on paper and in a picture of it, too.
const first = performance.now() + 1000;
for (const place of document.querySelectorAll("figure[data-chart]")) {
  if (place.dataset.chart.includes(" ")) addTable(place);
  if (performance.now() < first) attempt(place);
  sizes.observe(place.querySelector(".plot"));
}
for (const choice of document.querySelectorAll("select[data-inside]")) {
  choice.addEventListener("change", () => {
    CHOSEN[choice.dataset.inside] = Number(choice.value);
    for (const place of choice.closest(".inside").querySelectorAll("figure")) {
      delete place.querySelector(".plot").dataset.width;
      place.querySelectorAll("details[open]").forEach((fold) => { fold.open = false; });
      soon(place);
    }
  });
}

// A link to a test opens it.
function openTarget() {
  const target = document.getElementById(location.hash.slice(1));
  if (target?.tagName === "DETAILS") {
    target.open = true;
    target.scrollIntoView();
  }
}
addEventListener("hashchange", openTarget);
openTarget();
