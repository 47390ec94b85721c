// Without this script the page shows everything; with it tables sort, and a cell opens what is behind it.
"use strict";

// "41.0 ± 1.0 †" sorts by 41.0, "10:02:03" by its seconds, words as they stand; a dash comes last in either order.
function worth(cell) {
  const text = cell.textContent.trim();
  if (text === "–" || text === "") return null;
  const clock = /^(\d+):(\d\d):(\d\d)$/.exec(text);
  if (clock) return 3600 * clock[1] + 60 * clock[2] + Number(clock[3]);
  const number = /^[-+]?\d[\d,]*(\.\d+)?([eE][-+]?\d+)?/.exec(text);
  return number ? parseFloat(number[0].replaceAll(",", "")) : text.toLowerCase();
}

function compare(a, b) {
  if (typeof a === typeof b) return a < b ? -1 : a > b ? 1 : 0;
  return typeof a === "number" ? -1 : 1;
}

function sortBy(table, head, place) {
  const up = head.getAttribute("aria-sort") === "descending" || (!head.hasAttribute("aria-sort") && head.matches(".word"));
  for (const other of table.tHead.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  for (const body of table.tBodies) { // measured and published rows stay apart
    const rows = [...body.rows].map((row) => [worth(row.cells[place]), row]);
    rows.sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : up ? compare(a, b) : compare(b, a)));
    body.append(...rows.map(([, row]) => row));
  }
}

for (const table of document.querySelectorAll("table")) {
  const heads = table.tHead.rows[table.tHead.rows.length - 1].cells;
  [...heads].forEach((head, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sortBy(table, head, place));
    head.append(button);
  });
}

const dialog = document.getElementById("provenance");

function show(article) {
  dialog.lastElementChild.replaceChildren(article.cloneNode(true));
  dialog.showModal();
}

for (const cell of document.querySelectorAll("td[data-cell]")) {
  const about = [...cell.closest("section.table").querySelectorAll("article[data-about]")];
  const article = about.find((one) => one.dataset.about === cell.dataset.cell);
  const button = document.createElement("button");
  button.type = "button";
  button.setAttribute("aria-haspopup", "dialog");
  button.append(...cell.childNodes);
  button.addEventListener("click", () => show(article));
  cell.append(button);
}

dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close(); // beside the dialog
});

for (const region of document.querySelectorAll(".scroll, .pan")) {
  region.tabIndex = 0;
  region.setAttribute("role", "region");
  const caption = region.querySelector("caption");
  region.setAttribute("aria-label", caption ? caption.textContent : "picture");
}

for (const block of document.querySelectorAll("pre")) {
  if (!navigator.clipboard) break;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(block.textContent);
    button.textContent = "Copied";
  });
  block.after(button);
}

// Charts: drawn when they come into view (or are printed), from the specification inside them.
const chartConfig = document.querySelector("#chart-config script");

function draw(chart) {
  const source = chart.querySelector("script");
  if (!source || chart.drawn) return chart.drawn;
  const spec = JSON.parse(source.textContent);
  const options = { actions: false, renderer: "svg", ast: true, config: JSON.parse(chartConfig.textContent) };
  chart.drawn = vegaEmbed(chart, spec, options).then((result) => {
    chart.view = result.view;
    return obey(chart);
  });
  return chart.drawn;
}

const hidden = new Map(); // group -> the names of series that are switched off

function obey(chart) {
  const names = [...(hidden.get(chart.dataset.group) || [])];
  return names.length || chart.obeyed ? ((chart.obeyed = true), chart.view.signal("hidden", names).runAsync()) : null;
}

const charts = [...document.querySelectorAll(".chart")];
if (window.vegaEmbed) {
  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) draw(entry.target);
  }, { rootMargin: "300px" });
  for (const chart of charts) watch.observe(chart);
  window.addEventListener("beforeprint", () => charts.forEach(draw));
}

for (const legend of document.querySelectorAll("ul.legend")) {
  const group = legend.dataset.group;
  for (const item of legend.children) {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-pressed", "true");
    button.append(...item.childNodes);
    button.addEventListener("click", () => {
      const names = hidden.get(group) || new Set();
      const on = names.delete(item.dataset.name);
      if (!on) names.add(item.dataset.name);
      hidden.set(group, names);
      button.setAttribute("aria-pressed", String(on));
      for (const chart of charts) if (chart.dataset.group === group && chart.view) obey(chart);
    });
    item.append(button);
  }
}
