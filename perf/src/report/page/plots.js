"use strict";
// Draws the plots of the page from the data in it. Every series is one path with as many points as
// it has data; every plot can be walked through with the arrow keys.

const data = JSON.parse(document.getElementById("data").textContent);
const WIDTH = 640, HEIGHT = 340, LEFT = 74, RIGHT = 16, TOP = 12, BOTTOM = 46;
const DASHES = ["", "7 4", "2 3", "10 3 2 3"];
const COLOURS = 8;
const hidden = new Set();

const colour = (run) => `var(--s${run % COLOURS})`;
// Beyond as many runs as there are colours, the pattern of the line tells them apart.
const dash = (run) => DASHES[Math.floor(run / COLOURS) % DASHES.length];

function element(name, attributes, ...children) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
}

function number(value) {
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (size >= 1e6) return `${+(value / 1e6).toPrecision(3)}M`;
    if (size >= 1e4) return `${+(value / 1e3).toPrecision(3)}k`;
    return `${+value.toPrecision(3)}`;
}

function micros(value) {
    if (value >= 1e6) return `${+(value / 1e6).toPrecision(3)} s`;
    if (value >= 1e3) return `${+(value / 1e3).toPrecision(3)} ms`;
    return `${+value.toPrecision(3)} µs`;
}

// x counts the nines: 0 is the least latency, 1 is 90 %, 2 is 99 %.
function percentile(x) {
    const digits = Math.max(0, Math.ceil(x - 2 - 1e-9)) + (Number.isInteger(x) ? 0 : 1);
    return `${(100 * (1 - 10 ** -x)).toFixed(digits)} %`;
}

// Where nothing was answered there is no latency: a gap.
function has(point) {
    return point[1] !== null;
}

function linear(low, high, from, to) {
    const span = high - low || 1;
    const step = [1, 2, 5, 10].map((f) => f * 10 ** Math.floor(Math.log10(span / 5))).find((s) => span / s <= 6) || span;
    const ticks = [];
    for (let at = Math.ceil(low / step - 1e-9) * step; at <= high + step * 1e-6; at += step) ticks.push(at);
    return { ticks, at: (value) => from + ((value - low) / span) * (to - from) };
}

function logarithmic(low, high, from, to) {
    const first = Math.floor(Math.log10(low)), last = Math.max(first + 1, Math.ceil(Math.log10(high)));
    const ticks = [];
    for (let power = first; power <= last; power++) {
        for (const factor of last - first <= 2 ? [1, 2, 5] : [1]) {
            if (power < last || factor === 1) ticks.push(factor * 10 ** power);
        }
    }
    const place = (value) => (Math.log10(Math.max(value, 10 ** first)) - first) / (last - first);
    return { ticks, at: (value) => from + place(value) * (to - from) };
}

// A plot: { id, title, note, x: {label, show}, y: {label, show, log}, series: [{run, label, dash, points, knee}] }
function draw(plot) {
    const all = plot.series.flatMap((series) => series.points);
    if (!all.some(has)) return null;
    const xs = all.map((point) => point[0]), ys = all.filter(has).map((point) => point[1]);
    const least = (values) => values.reduce((a, b) => Math.min(a, b), Infinity);
    const most = (values) => values.reduce((a, b) => Math.max(a, b), -Infinity);
    const x = linear(plot.x.zero ? 0 : least(xs), most(xs), LEFT, WIDTH - RIGHT);
    const positive = ys.filter((y) => y > 0);
    const y = plot.y.log && positive.length > 0
        ? logarithmic(least(positive), most(positive), HEIGHT - BOTTOM, TOP)
        : linear(0, most(ys) * 1.05 || 1, HEIGHT - BOTTOM, TOP);

    const svg = element("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", tabindex: 0, id: plot.id, "aria-label": `${plot.title}. ${describe(plot)} Arrow keys read the values.` });
    for (const tick of x.ticks) {
        svg.append(element("line", { class: "grid", x1: x.at(tick), x2: x.at(tick), y1: TOP, y2: HEIGHT - BOTTOM }));
        svg.append(element("text", { class: "tick", x: x.at(tick), y: HEIGHT - BOTTOM + 17, "text-anchor": x.at(tick) > WIDTH - RIGHT - 12 ? "end" : "middle" }, plot.x.show(tick)));
    }
    for (const tick of y.ticks) {
        svg.append(element("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y.at(tick), y2: y.at(tick) }));
        svg.append(element("text", { class: "tick", x: LEFT - 7, y: y.at(tick) + 4, "text-anchor": "end" }, plot.y.show(tick)));
    }
    svg.append(element("text", { class: "tick", x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 8, "text-anchor": "middle" }, plot.x.label));
    for (const series of plot.series) {
        if (!series.points.some(has)) continue;
        const after = (at) => at > 0 && has(series.points[at - 1]);
        const d = series.points.map((point, at) => has(point) ? `${after(at) ? "L" : "M"}${x.at(point[0]).toFixed(1)} ${y.at(point[1]).toFixed(1)}` : "").join("");
        const look = { class: "series", "data-run": series.run, "data-series": series.label, "stroke-dasharray": series.dash ?? dash(series.run), style: `stroke: ${colour(series.run)}` };
        svg.append(element("path", { ...look, d }));
        // A single point, by itself or between gaps, has no line.
        series.points.forEach((point, at) => {
            const next = series.points[at + 1];
            if (!has(point) || after(at) || (next && has(next))) return;
            svg.append(element("circle", { class: "series", "data-run": series.run, style: look.style, r: 3, cx: x.at(point[0]), cy: y.at(point[1]) }));
        });
        if (series.knee) svg.append(element("circle", { class: "knee", "data-run": series.run, style: look.style, r: 5, cx: x.at(series.knee[0]), cy: y.at(series.knee[1]) }, element("title", {}, `knee of ${data.runs[series.run].name}`)));
    }
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption"), note = document.createElement("small");
    note.textContent = plot.note;
    caption.append(plot.title, note);
    figure.append(caption, svg, reader(plot, svg, x));
    return figure;
}

function describe(plot) {
    const ends = plot.series.filter((series) => series.points.some(has)).map((series) => {
        const last = series.points.findLast(has);
        return `${data.runs[series.run].name} ${series.label} ends at ${plot.y.show(last[1])}`;
    });
    return `${ends.slice(0, 12).join("; ")}.`;
}

// Reads the values at a place: with the pointer, or with arrow keys while the plot has the focus.
function reader(plot, svg, x) {
    const says = document.createElement("output");
    const places = [...new Set(plot.series.flatMap((series) => series.points.map((point) => point[0])))].sort((a, b) => a - b);
    const cursor = element("line", { class: "cursor", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
    svg.append(cursor);
    let at = -1;
    const read = (index) => {
        at = Math.max(0, Math.min(places.length - 1, index));
        const place = places[at];
        for (const end of ["x1", "x2"]) cursor.setAttribute(end, x.at(place));
        cursor.setAttribute("visibility", "visible");
        const values = plot.series.filter((series) => !hidden.has(series.run) && series.points.some(has)).map((series) => {
            const near = series.points.reduce((a, b) => (Math.abs(b[0] - place) < Math.abs(a[0] - place) ? b : a));
            return `${data.runs[series.run].name} ${series.label} ${has(near) ? plot.y.show(near[1]) : "-"}`;
        });
        says.textContent = `${plot.x.show(place)}: ${values.join(", ")}`;
    };
    svg.addEventListener("pointermove", (event) => {
        const box = svg.getBoundingClientRect();
        const pointer = ((event.clientX - box.left) / box.width) * WIDTH;
        let nearest = 0;
        places.forEach((place, index) => { if (Math.abs(x.at(place) - pointer) < Math.abs(x.at(places[nearest]) - pointer)) nearest = index; });
        read(nearest);
    });
    svg.addEventListener("keydown", (event) => {
        const moves = { ArrowRight: at + 1, ArrowLeft: at - 1, PageDown: at + 10, PageUp: at - 10, Home: 0, End: places.length - 1 };
        if (!(event.key in moves)) return;
        event.preventDefault();
        read(moves[event.key]);
    });
    return says;
}

const over = (name, label, line) => data.runs.map((run, index) => ({ run: index, label, dash: line, points: run[name] }));
const plots = [
    { id: "percentiles", title: "Latency by percentile", note: "from the intended time of sending; further right is rarer", x: { label: "percentile", show: percentile, zero: true }, y: { show: micros, log: true }, series: over("percentiles", "") },
    { id: "sweep", title: "Latency against throughput", note: "steps of a rate sweep; solid p99, dotted p50; a circle marks the knee", x: { label: "answers per second", show: number, zero: true }, y: { show: micros, log: true },
        series: [...over("sweep_p99", "p99").map((series) => ({ ...series, knee: data.runs[series.run].knee })), ...over("sweep_p50", "p50", "2 3")] },
    { id: "latency", title: "Latency over time", note: "solid p99, dotted p50, of each interval", x: { label: "seconds", show: number, zero: true }, y: { show: micros, log: true }, series: [...over("p99", "p99"), ...over("p50", "p50", "2 3")] },
    { id: "throughput", title: "Throughput over time", note: "checked answers per second of each interval", x: { label: "seconds", show: number, zero: true }, y: { show: number }, series: over("rps", "") },
];

const place = document.getElementById("plots");
for (const plot of plots) {
    const figure = draw(plot);
    if (figure) place.append(figure);
}

const legend = document.getElementById("legend");
data.runs.forEach((run, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-pressed", "true");
    const sample = element("svg", { viewBox: "0 0 32 12", "aria-hidden": "true" }, element("line", { x1: 0, x2: 32, y1: 6, y2: 6, "stroke-width": 3, "stroke-dasharray": dash(index), style: `stroke: ${colour(index)}` }));
    button.append(sample, run.name);
    button.addEventListener("click", () => {
        const show = hidden.delete(index);
        if (!show) hidden.add(index);
        button.setAttribute("aria-pressed", String(show));
        for (const drawn of document.querySelectorAll(`[data-run="${index}"]`)) drawn.style.display = show ? "" : "none";
    });
    legend.append(button);
});

document.getElementById("theme").addEventListener("click", () => {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const now = document.documentElement.dataset.theme ?? (dark ? "dark" : "light");
    document.documentElement.dataset.theme = now === "dark" ? "light" : "dark";
});
