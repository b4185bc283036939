// Keeps an open page true: fetches it again and exchanges what moves. Without scripts the page reloads itself.
"use strict";
(function () {
  function seconds() {
    const live = document.querySelector("#live");
    if (live) { return Number(live.dataset.refresh); }
    return document.querySelector(".model-instance.change-list, .model-operation.change-list") ? 10 : 0;
  }

  // Nobody loses a row they ticked or text they marked.
  function isInUse() {
    return document.hidden || document.querySelector("tr.selected, .action-select:checked") !== null
      || String(window.getSelection()) !== "";
  }

  async function look() {
    if (!isInUse()) {
      try {
        const answer = await fetch(window.location.href, { credentials: "same-origin" });
        if (answer.ok && !answer.redirected) { exchange(await answer.text()); }
      } catch (error) {
        // The server is away: the next look may find it.
      }
    }
    wait();
  }

  function exchange(text) {
    const fresh = new DOMParser().parseFromString(text, "text/html");
    const old = document.querySelector("#live");
    const now = fresh.querySelector("#live");
    if (old && now && old.innerHTML !== now.innerHTML) { old.innerHTML = now.innerHTML; }
    if (old && now) { old.dataset.refresh = now.dataset.refresh; }
    exchangeRows(rows(document), rows(fresh));
  }

  // Cell by cell, for the admin's own script knows the boxes; other rows than before wait for a reload.
  function exchangeRows(old, fresh) {
    if (old.length !== fresh.length || old.some((row, i) => key(row) !== key(fresh[i]))) { return; }
    old.forEach((row, i) => {
      row.querySelectorAll(":scope > :not(.action-checkbox)").forEach((cell, n) => {
        const now = fresh[i].querySelectorAll(":scope > :not(.action-checkbox)")[n];
        if (now && cell.innerHTML !== now.innerHTML) { cell.innerHTML = now.innerHTML; }
      });
    });
  }

  function rows(page) { return Array.from(page.querySelectorAll("#result_list tbody tr")); }

  function key(row) {
    const link = row.querySelector("th a");
    return link ? link.getAttribute("href") : "";
  }

  function wait() {
    const every = seconds();
    if (every > 0) { window.setTimeout(look, every * 1000); }
  }

  document.addEventListener("DOMContentLoaded", wait);
})();
