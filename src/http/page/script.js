// Keeps the page up to date, and adds keys. Everything works without it, except the pause and the theme.
"use strict";
(() => {
  const root = document.documentElement;
  const stored = key => { try { return localStorage.getItem(key); } catch { return null; } };
  const store = (key, value) => { try { localStorage.setItem(key, value); } catch { /* Private windows may forbid it. */ } };
  const theme = stored("theme");
  if (theme) root.dataset.theme = theme;

  // How long a page is without a connection before the banner appears; time between attempts; time before a reload.
  const PATIENCE = 3000, RETRY = 2000, FALLBACK = 15000;

  addEventListener("DOMContentLoaded", () => {
    const $ = id => document.getElementById(id);
    const pause = $("pause"), lost = $("lost"), help = $("help"), filter = document.querySelector("#filter input[name=q]");
    let events = null, paused = false, timer = 0, since = 0, at = null;
    // Rows that have no place yet: an event may be only a part of an update.
    const fresh = new Map();

    const element = html => {
      const template = document.createElement("template");
      template.innerHTML = html;
      return template.content.firstElementChild;
    };

    // The focus stays where it was, because a replaced link is the same link.
    const replace = (old, fresh) => {
      const active = document.activeElement;
      const path = old.contains(active) && active !== old ? [...old.querySelectorAll("a,button")].indexOf(active) : -1;
      old.replaceWith(fresh);
      if (path >= 0) [...fresh.querySelectorAll("a,button")][path]?.focus({preventScroll: true});
    };

    const update = ({as_of, at: newest, set, order = {}}) => {
      for (const [id, html] of Object.entries(set)) {
        if (id === "title") { document.title = element(html).textContent; continue; }
        const old = $(id), made = element(html.startsWith("<tr") ? `<table><tbody>${html}</tbody></table>` : html);
        const node = made.localName === "table" ? made.querySelector("tr") : made;
        if (!old) { node.classList.add("new"); fresh.set(id, node); }
        // A region that is read aloud must stay, or nothing is read.
        else if (old.hasAttribute("aria-live")) old.replaceChildren(...node.childNodes);
        else replace(old, node);
      }
      for (const [name, ids] of Object.entries(order)) {
        const body = $("rows-" + name), keep = new Set(ids);
        for (const row of [...body.children]) if (!keep.has(row.id)) row.remove();
        ids.forEach((id, n) => {
          const row = $(id) ?? fresh.get(id);
          if (row && body.children[n] !== row) body.insertBefore(row, body.children[n] ?? null);
        });
      }
      if (as_of) { $("as-of").textContent = as_of; at = newest; fresh.clear(); }
    };

    const say = text => { lost.textContent = text; lost.hidden = !text; };

    const close = () => { events?.close(); events = null; clearTimeout(timer); };

    const open = () => {
      close();
      if (paused || document.hidden) return;
      const url = new URL(document.body.dataset.live, location);
      if (at !== null) url.searchParams.set("at", at);
      events = new EventSource(url);
      events.onopen = () => { since = 0; say(""); };
      events.onmessage = ({data}) => { since = 0; say(""); update(JSON.parse(data)); };
      events.onerror = () => { close(); retry(url); };
    };

    // Tells a daemon that is gone from one with too many listeners, which still serves pages.
    const retry = async url => {
      since ||= Date.now();
      // A new document has other rows than this page knows of.
      at = null;
      url.searchParams.delete("at");
      let status = 0;
      const stop = new AbortController();
      try { ({status} = await fetch(url, {signal: stop.signal})); } catch { /* It is gone. */ }
      stop.abort();
      if (paused || document.hidden) return;
      if (status === 503) { timer = setTimeout(() => location.reload(), FALLBACK); return; }
      if (status !== 200 && Date.now() - since >= PATIENCE) {
        say(`No connection to celeriac. The figures are from ${$("as-of").textContent}; trying again.`);
      }
      timer = setTimeout(open, status === 200 ? 0 : RETRY);
    };

    pause.hidden = $("theme").hidden = false;
    pause.onclick = () => {
      paused = !paused;
      pause.setAttribute("aria-pressed", paused);
      pause.textContent = paused ? "Resume" : "Pause";
      open();
    };
    $("theme").onclick = () => {
      const dark = matchMedia("(prefers-color-scheme: dark)").matches;
      const now = root.dataset.theme ?? (dark ? "dark" : "light");
      store("theme", root.dataset.theme = now === "dark" ? "light" : "dark");
    };

    const go = key => document.querySelector(`[data-nav=${key}]`)?.click();
    const keys = {
      "/": () => { filter.focus(); filter.select(); },
      "?": () => help.showModal(),
      r: () => location.reload(),
      q: () => go("queues"),
      t: () => go("tasks"),
      k: () => go("workers"),
      w: () => {
        const windows = [...document.querySelectorAll(".windows a")];
        const current = windows.findIndex(link => link.hasAttribute("aria-current"));
        windows[(current + 1) % windows.length]?.click();
      },
    };
    addEventListener("keydown", event => {
      if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
      if (event.target.matches("input")) { if (event.key === "Escape") event.target.blur(); return; }
      const act = keys[event.key];
      if (act) { event.preventDefault(); act(); }
    });
    addEventListener("visibilitychange", () => document.hidden ? close() : open());
    addEventListener("pagehide", close);
    addEventListener("pageshow", event => { if (event.persisted) open(); });
    open();
  });
})();
