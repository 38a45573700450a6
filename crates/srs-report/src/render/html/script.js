"use strict";
// Filters, search and keys. The filters' state is in the address, so that a view can be sent to someone.
(() => {
  const form = document.getElementById("filters");
  const search = document.getElementById("search");
  const rows = [...document.querySelectorAll(".row")];
  const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
  const shownRows = () => rows.filter((row) => !row.hidden);

  function apply() {
    const wanted = Object.fromEntries(new FormData(form));
    const words = wanted.q.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) {
      const has = (name) => !wanted[name] || row.dataset[name].split("|").includes(wanted[name]);
      const fits = has("status") && has("level") && has("crate");
      row.hidden = !(fits && words.every((word) => texts.get(row).includes(word)));
    }
    const count = shownRows().length;
    document.getElementById("shown").textContent = `${count} of ${rows.length} shown`;
    document.getElementById("none").hidden = count > 0;
    for (const title of document.querySelectorAll("#rows h2")) {
      let next = title.nextElementSibling;
      let any = false;
      for (; next && next.tagName === "DETAILS"; next = next.nextElementSibling) any ||= !next.hidden;
      title.hidden = !any;
    }
    const query = new URLSearchParams(Object.entries(wanted).filter(([, value]) => value)).toString();
    history.replaceState(null, "", query ? `#?${query}` : location.pathname + location.search);
  }

  function restore() {
    const hash = decodeURI(location.hash);
    if (hash.startsWith("#?")) {
      for (const [name, value] of new URLSearchParams(location.hash.slice(2))) {
        if (form.elements[name]) form.elements[name].value = value;
      }
    } else if (hash) {
      const row = document.getElementById(hash.slice(1));
      if (row) row.open = true;
    }
  }

  function step(by) {
    const shown = shownRows();
    const at = shown.findIndex((row) => row.contains(document.activeElement));
    const next = shown[at < 0 ? (by > 0 ? 0 : shown.length - 1) : at + by];
    if (next) next.querySelector("summary").focus();
  }

  document.getElementById("unfold").addEventListener("click", (event) => {
    const open = event.target.getAttribute("aria-pressed") !== "true";
    for (const row of shownRows()) row.open = open;
    event.target.setAttribute("aria-pressed", String(open));
    event.target.textContent = open ? "Fold all" : "Unfold all";
  });
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(apply));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") {
      form.reset();
      apply();
      document.activeElement.blur();
      return;
    }
    if (event.target.closest("input, select")) return;
    if (event.key === "/") {
      event.preventDefault();
      search.focus();
    } else if (event.key === "j") step(1);
    else if (event.key === "k") step(-1);
  });
  const opened = location.hash;
  restore();
  if (opened && !opened.startsWith("#?")) document.getElementById(opened.slice(1))?.scrollIntoView();
  apply();
})();
