"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const most = 500;
  const whole = new Intl.NumberFormat("en-US");
  const one = new Intl.NumberFormat("en-US", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
  const two = new Intl.NumberFormat("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  const make = (name, attributes, text) => {
    const e = document.createElement(name);
    for (const [k, v] of Object.entries(attributes || {})) e.setAttribute(k, v);
    if (text !== undefined) e.textContent = text;
    return e;
  };
  const isNumber = (kind) => kind === "int" || kind === "gb" || kind === "money";
  const show = (v, kind) => {
    if (v === null) return "not known";
    if (kind === "gb") return one.format(v / 2 ** 30);
    if (kind === "money") return two.format(v / 1e6);
    return kind === "int" ? whole.format(v) : v;
  };
  const fields = {};

  for (const t of data.tables) {
    const rows = t.rows.map((cells) => cells.map((v, i) => (t.columns[i].kind === "ref" ? data.strings[v] : v)));
    const hay = rows.map((cells) => cells.filter((v) => typeof v === "string").join("\n").toLowerCase());
    let found = rows.map((_, i) => i);
    let sorted = -1;
    let down = false;

    const section = make("section", { "aria-labelledby": "h-" + t.id, id: t.id });
    section.append(make("h2", { id: "h-" + t.id }, t.title));
    const tools = make("div", { class: "tools" });
    const label = make("label", { for: "f-" + t.id }, "Filter");
    const input = make("input", { id: "f-" + t.id, type: "search", autocomplete: "off", spellcheck: "false" });
    const note = make("span", { role: "status" });
    tools.append(label, input, note);
    const scroll = make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": t.title });
    const table = make("table");
    const head = make("tr");
    const body = make("tbody");
    const foot = make("tfoot");

    const draw = () => {
      body.replaceChildren(...found.slice(0, most).map((at) => {
        const tr = make("tr");
        rows[at].forEach((v, i) => {
          const kind = t.columns[i].kind;
          const text = show(v, kind);
          tr.append(make("td", isNumber(kind) ? { class: "number" } : text.length <= 24 ? { class: "short" } : {}, text));
        });
        return tr;
      }));
      let text = whole.format(found.length) + (found.length === rows.length ? "" : " of " + whole.format(rows.length)) + " rows";
      if (found.length > most) text += "; the first " + most + " are shown, the filter searches all";
      note.textContent = text;
      foot.replaceChildren();
      if (!t.sum) return;
      const tr = make("tr");
      t.columns.forEach((c, i) => {
        if (i === 0) return tr.append(make("td", {}, "Total"));
        if (!isNumber(c.kind)) return tr.append(make("td"));
        let sum = 0;
        let known = found.length === 0;
        for (const at of found) {
          if (rows[at][i] === null) continue;
          known = true;
          sum += rows[at][i];
        }
        tr.append(make("td", { class: "number" }, show(known ? sum : null, c.kind)));
      });
      foot.append(tr);
    };

    const order = () => {
      if (sorted < 0) return;
      const text = !isNumber(t.columns[sorted].kind);
      found.sort((a, b) => {
        const x = rows[a][sorted];
        const y = rows[b][sorted];
        if (x === y) return a - b;
        if (x === null || x === "") return 1;
        if (y === null || y === "") return -1;
        const less = text ? (x < y ? -1 : 1) : x - y;
        return (down ? -less : less) || a - b;
      });
    };

    const search = () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      found = [];
      hay.forEach((s, i) => {
        if (words.every((w) => s.includes(w))) found.push(i);
      });
      order();
      draw();
    };

    t.columns.forEach((c, i) => {
      const th = make("th", { scope: "col", class: isNumber(c.kind) ? "number" : "" });
      const button = make("button", { type: "button" }, c.name);
      button.addEventListener("click", () => {
        down = sorted === i ? !down : isNumber(c.kind) || c.kind === "date";
        sorted = i;
        for (const other of head.children) other.removeAttribute("aria-sort");
        th.setAttribute("aria-sort", down ? "descending" : "ascending");
        order();
        draw();
      });
      th.append(button);
      head.append(th);
    });
    input.addEventListener("input", search);
    const thead = make("thead");
    thead.append(head);
    table.append(thead, body, foot);
    scroll.append(table);
    section.append(tools, scroll);
    document.getElementById("tables").append(section);
    fields[t.id] = { input, search, section };
    draw();
  }

  const here = document.getElementById("here");
  for (const map of document.querySelectorAll("svg.map")) {
    const cells = [...map.querySelectorAll(".cell")];
    const choose = (cell) => {
      const f = fields.repositories;
      if (!cell || !cell.dataset.find || !f) return;
      f.input.value = cell.dataset.find;
      f.search();
      f.section.scrollIntoView();
      f.input.focus({ preventScroll: true });
    };
    map.addEventListener("click", (e) => choose(e.target.closest(".cell")));
    map.addEventListener("focusin", (e) => {
      const cell = e.target.closest(".cell");
      if (cell) here.textContent = cell.querySelector("title").textContent;
    });
    map.addEventListener("keydown", (e) => {
      const at = cells.indexOf(e.target.closest(".cell"));
      if (at < 0) return;
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -at, End: cells.length - 1 - at }[e.key];
      if (step !== undefined) {
        const next = Math.min(Math.max(at + step, 0), cells.length - 1);
        cells[at].setAttribute("tabindex", "-1");
        cells[next].setAttribute("tabindex", "0");
        cells[next].focus();
        e.preventDefault();
      } else if (e.key === "Enter" || e.key === " ") {
        choose(cells[at]);
        e.preventDefault();
      }
    });
  }
})();
