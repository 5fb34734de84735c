// <pl-chart>: draws the figure in its JSON child with Plotly, in the colours of the theme in force.
const CONFIG = { displayModeBar: false, displaylogo: false, showSendToCloud: false, plotlyServerURL: "", responsive: true };
const VARIABLE = /^var\((--[\w-]+)\)$/;
let loading = null;

function plotly() {
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = document.querySelector('meta[name="plotly-src"]').content;
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => reject(new Error("the chart library could not be loaded"));
    document.head.append(script);
  });
  return loading;
}

function resolver() {
  const style = getComputedStyle(document.documentElement);
  const known = new Map();
  return (name) => {
    if (!known.has(name)) known.set(name, style.getPropertyValue(name).trim());
    return known.get(name);
  };
}

// Every "var(--c1)" of the figure becomes the colour it stands for.
function coloured(value, colour) {
  if (typeof value === "string") {
    const found = VARIABLE.exec(value);
    return found ? colour(found[1]) : value;
  }
  if (Array.isArray(value)) return value.map((item) => coloured(item, colour));
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, coloured(item, colour)]));
  }
  return value;
}

// Axis lines, grid, fonts and the hover box: what every figure has in common.
function themed(layout, colour) {
  const font = { family: colour("--sans"), size: 12, color: colour("--axis") };
  const result = {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", dragmode: false, uirevision: "keep", ...layout,
    font, transition: { duration: 0 },
    hoverlabel: {
      bgcolor: colour("--surface"), bordercolor: colour("--border-strong"), align: "left",
      font: { ...font, color: colour("--text") }, namelength: 40,
    },
  };
  for (const key of Object.keys(result).filter((name) => /^[xy]axis\d*$/.test(name))) {
    result[key] = {
      gridcolor: colour("--grid"), linecolor: colour("--border-strong"), tickcolor: colour("--border-strong"),
      zerolinecolor: colour("--border-strong"), zerolinewidth: 1, showline: key.startsWith("x"), ticks: "", ticklabelstandoff: 4,
      zeroline: false, spikecolor: colour("--border-strong"), spikethickness: 1, spikedash: "dot", ...result[key],
    };
  }
  result.annotations = (result.annotations || []).map((one) => ({ ...one, font: { ...font, ...one.font } }));
  return result;
}

class PlChart extends HTMLElement {
  connectedCallback() {
    this.retheme = () => this.draw();
    document.addEventListener("themechange", this.retheme);
    this.draw();
  }

  disconnectedCallback() {
    document.removeEventListener("themechange", this.retheme);
    if (this.area && window.Plotly) window.Plotly.purge(this.area);
  }

  async draw() {
    const source = this.querySelector('script[type="application/json"]');
    if (!source) return;
    this.figure ??= JSON.parse(source.textContent);
    try {
      const [library] = await Promise.all([plotly(), document.fonts.ready]);
      if (!this.isConnected) return;
      const colour = resolver();
      if (!this.area) this.append(this.area = document.createElement("div"));
      this.area.className = "chart__area";
      const figure = coloured(this.figure, colour);
      const sized = { ...themed(figure.layout, colour), autosize: true };
      const first = !this.area.classList.contains("js-plotly-plot");
      await library.react(this.area, figure.data.map((trace) => this.finish(trace, colour)), sized, CONFIG);
      if (first) this.listen();
      this.dataset.drawn = document.documentElement.dataset.theme || "light";
    } catch (problem) {
      this.dataset.failed = problem.message;
      this.closest(".chart-card")?.querySelector("[data-as-table]")?.setAttribute("open", "");
    }
  }

  finish(trace, colour) {
    if (trace.type !== "heatmap") return trace;
    const font = { family: colour("--sans"), size: 12, color: colour("--axis") };
    return { ...trace, colorbar: { ...trace.colorbar, tickfont: font, ticks: "" } };
  }

  // A point's customdata is [words, address]; a click on one with an address goes there.
  listen() {
    const address = (event) => event.points.map((point) => point.customdata?.[1]).find(Boolean);
    this.area.on("plotly_click", (event) => {
      const url = address(event);
      if (url) window.location.assign(url);
    });
    this.area.on("plotly_hover", (event) => this.toggleAttribute("data-clickable", Boolean(address(event))));
  }
}

customElements.define("pl-chart", PlChart);
