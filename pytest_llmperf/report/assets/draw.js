// The charts of verdicts: latency over load, changes, the search for a capacity. Each takes its figures and a
// width in pixels, and gives an SVG element.
"use strict";

const COLOUR = { candidate: "var(--candidate)", base: "var(--base)" };
const VERDICT = { pass: "var(--good)", improved: "var(--good)", regressed: "var(--bad)", inconclusive: "var(--unsure)" };
const DASHES = { candidate: null, base: "5,3" };
const SHIFT = { candidate: 1.5, base: -1.5 };

// A number as short as it is right: 0.123, 45.6, 1,234.
const short = (value) =>
  value >= 1e5 ? d3.format(".2~s")(value) : value >= 100 ? d3.format(",.0f")(value) : d3.format(".3~g")(value);

function svg(width, height, options) {
  const drawn = Plot.plot({ width, height, marginTop: 14, marginRight: 12, marginBottom: 32, marginLeft: 46, ...options });
  drawn.querySelectorAll("style").forEach((style) => style.remove()); // the page has its own, and allows no other
  return drawn;
}

// 1, 2 and 5 of each power of ten; only the powers where that would be many.
function steps([least, most]) {
  const powers = d3.range(Math.floor(Math.log10(least)), Math.ceil(Math.log10(most)) + 1);
  const within = (factors) => powers.flatMap((power) => factors.map((f) => f * 10 ** power)).filter((v) => v >= least && v <= most);
  const few = within([1, 2, 5]);
  return few.length > 7 ? within([1]) : few;
}

// From zero where values are near each other, else by ratios; what only an interval reaches is cut.
function span(values, others) {
  const known = values.filter((value) => value > 0);
  const [least, most] = [d3.min(known) ?? 1, d3.max(known) ?? 1];
  const isLog = most / least > 25;
  const near = others.filter((value) => value > least / 1.6 && value < most * (isLog ? 20 : 1.6));
  const top = Math.max(most, ...near) * (isLog ? 1.3 : 1.08);
  return isLog
    ? { type: "log", domain: [Math.min(least, ...near) / 1.3, top], ticks: steps([least / 1.3, top]) }
    : { type: "linear", domain: [0, top], ticks: 5 };
}

function curve(figures, width) {
  const scale = figures.scale;
  const points = figures.series.flatMap(({ side, points }) =>
    points.map((p) => ({ side, x: p.x, y: p.y * scale, low: p.low * scale, high: p.high * scale })));
  const launches = figures.series.flatMap(({ side, points }) =>
    points.flatMap((p) => p.launches.map((y) => ({ side, x: p.x, y: y * scale }))));
  const limit = figures.limit === null ? null : figures.limit * scale;
  const reach = [...points.flatMap((p) => [p.low, p.high]), ...(limit === null ? [] : [limit])];
  const y = span([...points, ...launches].map((p) => p.y), reach);
  const isSeen = limit !== null && limit <= y.domain[1] && limit >= y.domain[0];
  const told = limit === null ? [] : [`limit ${short(limit)}${isSeen ? "" : limit > y.domain[1] ? " ↑" : " ↓"}`];
  if (new Set(points.map((p) => p.x)).size < 2) return strip(figures, points, launches, limit, width);
  const sides = figures.series.map(({ side }) => side);
  const loads = points.map((p) => p.x);
  const isFarApart = d3.min(loads) > 0 && d3.max(loads) / d3.min(loads) > 40;
  return svg(width, 210, {
    x: { label: figures.x, labelArrow: "none", type: isFarApart ? "log" : "linear", tickFormat: short,
         ...(isFarApart ? { ticks: steps(d3.extent(loads)) } : { ticks: Math.max(3, width / 70), domain: [0, d3.max(loads) * 1.04] }) },
    y: { ...y, label: null, grid: true, tickFormat: short },
    marks: [
      isSeen ? Plot.ruleY([limit], { stroke: "var(--bad)", strokeDasharray: "2,3", strokeWidth: 1.5 }) : null,
      Plot.text(told, { frameAnchor: isSeen ? "left" : "top-left", y: isSeen ? limit : undefined, dy: isSeen ? -7 : -4, dx: 4,
                        fill: "var(--bad)", text: (d) => d, textAnchor: "start" }),
      ...sides.map((side) => Plot.ruleX(points.filter((p) => p.side === side && p.high > p.low), {
        x: "x", y1: "low", y2: "high", stroke: COLOUR[side], strokeWidth: 2, strokeOpacity: 0.45, dx: SHIFT[side], clip: true })),
      ...sides.map((side) => Plot.lineY(points.filter((p) => p.side === side), {
        x: "x", y: "y", stroke: COLOUR[side], strokeWidth: 2, strokeDasharray: DASHES[side] })),
      ...sides.map((side) => Plot.dot(launches.filter((p) => p.side === side), {
        x: "x", y: "y", r: 2.3, stroke: COLOUR[side], fill: "var(--page)", dx: 2 * SHIFT[side] })),
      Plot.tip(points, Plot.pointer({ x: "x", y: "y", title: (p) => tell(figures, p) })),
    ],
  });
}

function tell(figures, p) {
  const interval = p.high > p.low ? `\n95% interval ${short(p.low)} to ${short(p.high)}` : "";
  return `${figures.names[p.side]}\nat ${short(p.x)} ${figures.x}: ${short(p.y)} ${figures.unit}${interval}`;
}

// With a single load there is no curve: each side is a line of dots.
function strip(figures, points, launches, limit, width) {
  const sides = figures.series.map(({ side }) => side);
  const all = [...launches, ...points].map((p) => p.y);
  const near = points.flatMap((p) => [p.low, p.high]).concat(limit === null ? [] : [limit]);
  const [least, most] = [d3.min(all), d3.max(all)];
  const shown = [...all, ...near.filter((v) => v > least / 2 && v < most * 2)];
  const room = (d3.max(shown) - d3.min(shown)) * 0.06 || most * 0.05 || 1;
  const domain = [Math.max(0, d3.min(shown) - room), d3.max(shown) + room];
  const isSeen = limit !== null && limit >= domain[0] && limit <= domain[1];
  const told = limit === null ? [] : [`limit ${short(limit)}${isSeen ? "" : limit > domain[1] ? " →" : " ←"}`];
  return svg(width, 44 + 26 * sides.length, {
    marginLeft: 42, marginTop: 16, marginBottom: 24,
    x: { domain, label: null, ticks: Math.max(3, width / 70), tickFormat: short, grid: true },
    y: { type: "band", domain: sides, label: null, tickSize: 0, padding: 0.2, tickFormat: (side) => (side === "base" ? "base" : "now") },
    marks: [
      isSeen ? Plot.ruleX([limit], { stroke: "var(--bad)", strokeDasharray: "2,3", strokeWidth: 1.5 }) : null,
      Plot.text(told, { frameAnchor: limit > domain[1] || isSeen ? "top-right" : "top-left", dy: -13, fill: "var(--bad)", text: (d) => d }),
      Plot.ruleY(points.filter((p) => p.high > p.low), { y: "side", x1: "low", x2: "high", strokeWidth: 2, strokeOpacity: 0.45,
                                                         stroke: (p) => COLOUR[p.side], clip: true }),
      Plot.dot(launches, { y: "side", x: "y", r: 2.6, stroke: (p) => COLOUR[p.side], fill: "var(--page)" }),
      Plot.tickX(points, { y: "side", x: "y", strokeWidth: 2.5, stroke: (p) => COLOUR[p.side] }),
    ],
  });
}

const percentages = [-0.9, -0.75, -0.5, -0.3, -0.2, -0.1, -0.05, -0.02, 0, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 4, 9, 19, 49, 99];
const percent = (share) => (share > 0 ? "+" : "") + d3.format(".0%")(share).replace("−", "-");

function forest(figures, width) {
  const most = Math.max(12, Math.floor((width * 0.45) / 6.3));
  const rows = figures.rows.map((row, at) => ({
    ...row, at, low: Math.log1p(row.low), high: Math.log1p(row.high), mean: Math.log1p(row.y), tolerance: Math.log1p(row.tolerance),
    shown: row.name.length > most ? `${row.name.slice(0, most - 1)}…` : row.name,
  }));
  const reach = 2 * d3.max(rows, (row) => Math.abs(row.mean)) + 0.12;
  const ends = rows.flatMap((row) => [row.low, row.high, row.tolerance]).map((v) => Math.max(-reach, Math.min(reach, v)));
  const domain = [Math.min(0, ...ends) - 0.01, Math.max(0, ...ends) + 0.01];
  const left = 12 + 6.3 * d3.max(rows, (row) => row.shown.length), right = 62;
  const apart = ((domain[1] - domain[0]) / Math.max(60, width - left - right)) * 46;
  const ticks = [];
  for (const share of [0, ...percentages.filter((s) => s > 0), ...percentages.filter((s) => s < 0).reverse()]) {
    const at = Math.log1p(share);
    if (at >= domain[0] && at <= domain[1] && ticks.every((t) => Math.abs(t - at) >= apart)) ticks.push(at);
  }
  const band = { y: "at", insetTop: 3, insetBottom: 3 };
  return svg(width, 40 + 22 * rows.length, {
    marginLeft: left, marginRight: right, marginBottom: 26, marginTop: 8,
    x: { domain, ticks, tickFormat: (v) => percent(Math.expm1(v)), label: null, grid: true },
    y: { type: "band", domain: rows.map((row) => row.at), tickFormat: (at) => rows[at].shown, tickSize: 0, label: null, padding: 0 },
    marks: [
      Plot.barX(rows, { ...band, x1: 0, x2: "tolerance", fill: "var(--tolerance)", fillOpacity: 0.7, clip: true }),
      Plot.ruleX([0], { stroke: "var(--quiet)" }),
      Plot.ruleY(rows, { y: "at", x1: "low", x2: "high", stroke: (row) => VERDICT[row.verdict], strokeWidth: 2.5, strokeOpacity: 0.65, clip: true }),
      Plot.dot(rows, { y: "at", x: "mean", r: 3.8, fill: (row) => VERDICT[row.verdict] }),
      Plot.text(rows, { y: "at", frameAnchor: "right", dx: right - 4, textAnchor: "end", text: "text", fill: (row) => VERDICT[row.verdict], fontWeight: 600 }),
    ],
  });
}

function search(figures, width) {
  const known = figures.probes.filter((p) => p.y !== null && !p.saturated);
  const lost = figures.probes.filter((p) => p.y === null || p.saturated);
  const shares = known.map((p) => p.y);
  const domain = [Math.min(0.5, ...shares) / 1.3, Math.max(2, ...shares) * 1.3];
  const found = figures.found.filter((one) => one.value !== undefined && one.value !== null);
  return svg(width, 230, {
    x: { label: "requests/s", labelArrow: "none", tickFormat: short, zero: true, nice: true },
    y: { type: "log", domain, grid: true, ticks: steps(domain), tickFormat: (v) => d3.format(".0%")(v), label: null },
    marks: [
      Plot.rect(found, { x1: "low", x2: "high", y1: domain[0], y2: domain[1], fill: (one) => COLOUR[one.side], fillOpacity: 0.1 }),
      Plot.ruleX(found, { x: "value", stroke: (one) => COLOUR[one.side], strokeWidth: 1.5 }),
      Plot.ruleY([1], { stroke: "var(--bad)", strokeDasharray: "2,3", strokeWidth: 1.5 }),
      Plot.text(["limit"], { y: 1, frameAnchor: "left", dx: 4, dy: -7, fill: "var(--bad)", textAnchor: "start", text: (d) => d }),
      Plot.dot(known, { x: "x", y: "y", r: 4, stroke: (p) => COLOUR[p.side], fill: (p) => (p.y <= 1 ? COLOUR[p.side] : "var(--page)") }),
      Plot.dot(lost, { x: "x", y: domain[1], r: 4, symbol: "times", stroke: "var(--bad)", strokeWidth: 2 }),
      lost.length ? Plot.text(lost.slice(0, 1), { x: "x", y: domain[1], dy: 14, text: () => "saturated", fill: "var(--bad)" }) : null,
    ],
  });
}
