// Makes pages live and quick under the keyboard. Everything works without it.
"use strict";
(() => {
  const body = document.body, root = body.dataset.root, live = document.getElementById("live");
  const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];

  // ---- live: the server says that something changed, the page reads itself again

  let waiting = 0, loading = false;

  const isInUse = (region) => {
    const selection = getSelection();
    return region.contains(document.activeElement) || region.querySelector("input:checked") ||
      (!selection.isCollapsed && region.contains(selection.anchorNode));
  };

  const swap = (page) => {
    for (const region of $$("[data-region]")) {
      const next = page.getElementById(region.id);
      if (!next || isInUse(region)) continue;
      for (const one of $$("details[id]", region)) {
        const other = page.getElementById(one.id);
        if (other) other.open = one.open;
      }
      if (next.innerHTML !== region.innerHTML) region.replaceChildren(...next.childNodes);
    }
    dress();
  };

  const refresh = async () => {
    waiting = 0;
    if (loading || document.hidden) return;
    loading = true;
    try {
      const address = new URL(location.href);
      address.searchParams.delete("said");
      const answer = await fetch(address, { headers: { accept: "text/html" } });
      if (answer.ok) swap(new DOMParser().parseFromString(await answer.text(), "text/html"));
      live.classList.remove("beat");
      void live.offsetWidth;
      live.classList.add("beat");
    } catch { /* the stream says when the server is away */ }
    loading = false;
  };

  const ask = () => { if (!waiting) waiting = setTimeout(refresh, 300); };

  if (body.dataset.live && window.EventSource) {
    const watch = body.dataset.watch || (body.dataset.job ? "?job=" + encodeURIComponent(body.dataset.job) : "");
    const stream = new EventSource(root + "/live" + watch);
    stream.onopen = () => { live.hidden = false; live.classList.remove("off"); };
    stream.onerror = () => live.classList.add("off");
    stream.addEventListener("change", ask);
    document.addEventListener("visibilitychange", () => { if (!document.hidden) ask(); });
    addEventListener("pagehide", () => stream.close());
  }

  // ---- copying, and ticking all

  const copyButton = (from) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy small";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(from.textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
    return button;
  };

  const dress = () => {
    if (navigator.clipboard) {
      for (const one of $$("[data-copy]")) {
        if (!one.nextElementSibling?.classList.contains("copy")) one.after(copyButton(one));
      }
    }
    for (const all of $$("[data-all]")) {
      all.hidden = false;
      all.onchange = () => {
        for (const one of $$("input[name=id]", all.form)) one.checked = all.checked;
        count();
      };
    }
    count();
  };

  const count = () => {
    for (const said of $$("[data-count]")) {
      const n = $$("input[name=id]:checked", said.closest("form")).length;
      said.textContent = n ? `With ${n} ticked:` : "With the ticked jobs:";
    }
  };
  document.addEventListener("change", count);

  // ---- keys: / searches, g and a letter goes to a page, j and k walk through rows

  let before = "";
  const walk = (step) => {
    const rows = $$("main tbody th a, .groups .g-error");
    const at = rows.indexOf(document.activeElement);
    rows[Math.min(Math.max(at + step, 0), rows.length - 1)]?.focus();
  };
  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches("input:not([type=checkbox]), textarea, select");
    if (event.key === "Escape" && typing) event.target.blur();
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const tab = before === "g" && document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
    before = event.key;
    if (tab) tab.click();
    else if (event.key === "/") {
      event.preventDefault();
      const field = document.getElementById("q");
      if (field) field.select();
      else location.href = root + "/jobs#q";
    } else if (event.key === "j") walk(1);
    else if (event.key === "k") walk(-1);
  });
  if (location.hash === "#q") document.getElementById("q")?.select();
  for (const one of $$(".keys")) one.hidden = false;
  dress();
})();
