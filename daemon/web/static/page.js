// Draws what stands in the page as JSON, follows light and dark, and looks for news now and then.
"use strict";

const SECONDS = 60;
const dark = matchMedia("(prefers-color-scheme: dark)");
const still = matchMedia("(prefers-reduced-motion: reduce)");
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

let plotly = null; // the script, asked for once a figure comes into sight
function loadPlotly() {
  plotly ??= new Promise((resolve, reject) => {
    for (const id of document.body.dataset.styles.split(" ")) {
      // a style sheet that is there already is not written into the page, which its policy forbids
      document.head.append(Object.assign(document.createElement("meta"), { id }));
    }
    const script = document.createElement("script");
    script.src = document.body.dataset.plotly;
    script.addEventListener("load", () => resolve(window.Plotly));
    script.addEventListener("error", reject);
    document.head.append(script);
  });
  return plotly;
}

const axis = () => ({
  gridcolor: colour("--plot-grid"), linecolor: colour("--plot-grid"), zeroline: false, fixedrange: true,
  tickfont: { size: 11, color: colour("--soft") }, automargin: true,
});

function layoutOf(extra) {
  return {
    autosize: true, margin: { l: 8, r: 8, t: 8, b: 8 }, showlegend: false, dragmode: false, hovermode: "x unified",
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("--ink") },
    hoverlabel: { bgcolor: colour("--surface"), bordercolor: colour("--line"), font: { color: colour("--ink") } },
    ...extra,
  };
}

function markTraces(data) {
  const at = new Map(data.sessions.map((session, i) => [session, i]));
  const nearest = (session) => at.get(session) ?? data.sessions.findIndex((each) => each >= session);
  const known = data.marks
    .map((mark) => ({ ...mark, y: data.mean[nearest(mark.session)] }))
    .filter((mark) => mark.y !== null && mark.y !== undefined);
  if (!known.length) return [];
  const bad = new Set(["decayed", "retired", "rejected", "warning"]);
  return [{
    x: known.map((mark) => mark.session), y: known.map((mark) => mark.y), text: known.map((mark) => mark.text),
    mode: "markers", hovertemplate: "%{text}<extra></extra>",
    marker: { size: 9, line: { width: 1.5, color: colour("--surface") },
      color: known.map((mark) => colour(bad.has(mark.text) ? "--plot-bad" : "--plot-good")) },
  }];
}

function curve(data) {
  const line = colour("--plot-line"), tested = data.ratio.length > 0;
  const edge = { x: data.sessions, mode: "lines", line: { width: 0 }, hoverinfo: "skip" };
  const traces = [
    { ...edge, y: data.low },
    { ...edge, y: data.high, fill: "tonexty", fillcolor: colour("--plot-band") },
    { x: data.sessions, y: data.mean, mode: "lines", line: { color: line, width: 2 }, hovertemplate: "RankIC %{y:+.4f}<extra></extra>" },
    ...markTraces(data),
  ];
  const across = (y, yref, look) => ({ type: "line", xref: "paper", x0: 0, x1: 1, yref, y0: y, y1: y, layer: "above", line: look });
  const shapes = [across(0, "y", { color: colour("--plot-zero"), width: 1 })];
  if (data.level !== null) shapes.push(across(data.level, "y", { color: colour("--plot-zero"), width: 1, dash: "dot" }));
  const layout = layoutOf({ xaxis: { ...axis(), type: "date", hoverformat: "%Y-%m-%d" }, yaxis: { ...axis(), tickformat: "+.2f", nticks: 5, domain: tested ? [0.4, 1] : [0, 1] }, shapes });
  if (tested) {
    traces.push({ x: data.evidence_sessions, y: data.ratio, yaxis: "y2", mode: "lines",
      line: { color: colour("--plot-evidence"), width: 1.5 }, hovertemplate: "evidence %{y:.3g}<extra></extra>" });
    layout.yaxis2 = { ...axis(), type: "log", domain: [0, 0.3], dtick: 2, tickformat: ".0e", exponentformat: "power",
      tickvals: [0.001, 0.01, 0.1, 1, 10, 100, 1000], ticktext: ["0.001", "", "0.1", "1", "10", "", "10³"] };
    layout.xaxis.anchor = "y2";
    shapes.push(across(1, "y2", { color: colour("--plot-bad"), width: 1.25, dash: "dash" }));
  }
  return [traces, layout];
}

function coverage(data) {
  const least = Math.min(...data.shares, 0.95);
  const traces = [{ x: data.sessions, y: data.shares, mode: "lines", fill: "tozeroy", fillcolor: colour("--plot-band"),
    line: { color: colour("--plot-line"), width: 1.75, shape: "hv" }, hovertemplate: "%{y:.2%}<extra></extra>" }];
  return [traces, layoutOf({ xaxis: { ...axis(), type: "date", hoverformat: "%Y-%m-%d" },
    yaxis: { ...axis(), tickformat: ".0%", range: [Math.max(least - 0.05, 0), 1.006], nticks: 4 } })];
}

const kinds = { curve, coverage };

async function draw(figure) {
  const data = JSON.parse(figure.parentElement.querySelector("script").textContent);
  const plot = await loadPlotly();
  const [traces, layout] = kinds[data.kind](data);
  await plot.react(figure, traces, layout, { displayModeBar: false, responsive: true, doubleClick: false, scrollZoom: false });
  figure.dataset.drawn = dark.matches ? "dark" : "light";
}

const seen = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    seen.unobserve(target);
    draw(target).catch(() => target.replaceChildren("The figure cannot be drawn; the table has its figures."));
  }
}, { rootMargin: "300px" });

const watch = () => document.querySelectorAll(".plot").forEach((figure) => seen.observe(figure));
dark.addEventListener("change", () => document.querySelectorAll(".plot[data-drawn]").forEach((figure) => draw(figure)));

const notice = document.getElementById("notice"), button = document.getElementById("updates");
let told = "";
function say(text, href) {
  if (!notice || told === text) return;
  told = text;
  notice.hidden = !text;
  notice.replaceChildren(text);
  if (!href) return;
  const link = document.createElement("a");
  link.href = href;
  link.textContent = "Show it";
  notice.append(" ", link);
}

function openOnes() {
  return [...document.querySelectorAll("main details")].map((each) => each.open);
}

function show(page) {
  const kept = openOnes(), held = document.activeElement?.id, place = document.activeElement?.getAttribute?.("href");
  document.getElementById("main").replaceChildren(...page.getElementById("main").childNodes);
  document.querySelectorAll("main details").forEach((each, i) => { each.open = kept[i] ?? false; });
  const before = held ? document.getElementById(held) : place && document.querySelector(`main a[href="${CSS.escape(place)}"]`);
  before?.focus?.({ preventScroll: true });
  watch();
}

let last = document.getElementById("main")?.innerHTML; // as it came, before anything was drawn
async function refresh() {
  if (document.hidden || button.getAttribute("aria-pressed") !== "true") return;
  try {
    const answer = await fetch(location.href, { cache: "no-cache", headers: { Accept: "text/html" } });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.getElementById("main")?.innerHTML;
    if (!answer.ok || !fresh) throw new Error(String(answer.status));
    document.querySelector("[data-now]").textContent = page.querySelector("[data-now]").textContent;
    if (fresh === last) return say("");
    if (still.matches) return say("There is newer data.", location.href);
    last = fresh;
    say("");
    show(page);
  } catch {
    say("The daemon does not answer: this page shows how it was at the time above.");
  }
}

if (button) {
  button.hidden = false;
  button.addEventListener("click", () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(on));
    button.textContent = on ? "Updates on" : "Updates off";
    if (on) refresh();
  });
  setInterval(refresh, SECONDS * 1000);
}
watch();
