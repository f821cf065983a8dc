() => {
  // Each inspection has a hidden button that draws it; the one in the tab in view is pressed, once
  // for all values that change together.
  let redrawing;
  const redraw = () => {
    clearTimeout(redrawing);
    redrawing = setTimeout(() => {
      const buttons = [...document.querySelectorAll("button.redraw")];
      buttons.find((one) => one.closest("[role=tabpanel]")?.checkVisibility())?.click();
    }, 10);
  };
  const press = (id) => (document.querySelector(`#${id} button`) || document.getElementById(id))?.click();
  const lookAhead = () => press("look-ahead");

  // The name of the tab in view: the innermost one.
  const tab = () => {
    const panels = [...document.querySelectorAll("[role=tabpanel]")];
    return panels.findLast((one) => one.checkVisibility())?.id.replace("tab-", "") || "generate";
  };

  // What is on screen is stored in this browser: in this tab of it, and for the next new one.
  const STORED = "gpt2lab.document";
  const store = (text) => {
    try {
      for (const storage of [sessionStorage, localStorage]) storage.setItem(STORED, text);
    } catch {} // Storage may be full or forbidden; then a reload begins anew.
  };
  const stored = () => {
    try {
      return sessionStorage.getItem(STORED) || localStorage.getItem(STORED) || "";
    } catch {
      return "";
    }
  };

  // The server knows the query of a link, the browser its host.
  const copy = (link) => {
    const whole = new URL(link, location.origin + location.pathname).href;
    navigator.clipboard?.writeText(whole).catch(() => {}); // Else it is copied by hand.
    return whole;
  };

  // A picture or a strip asks for a tab, for values of its controls, or for a position in all tabs.
  let wanted = {};
  const choose = (values) => {
    wanted = values;
    press("chosen");
  };
  // What the controls shall hold; `keys` says of each value its tab, its control and what kind it is.
  // Behind the values stands the model; what a picture of another one asks for is left alone.
  const chosen = (keys, values) => {
    const model = values[keys.length];
    if (wanted.model && wanted.model !== model) wanted = {};
    return keys.map(([of, control, kind], index) => {
      const value = values[index];
      if (kind === "tab") return wanted.tab === tab() ? "" : wanted.tab || "";
      if (kind === "position") return wanted.position ?? value;
      return of === wanted.tab ? (wanted[control] ?? value) : value;
    });
  };
  window.gpt2lab = { redraw, lookAhead, tab, store, copy, choose, chosen };

  // When typing pauses, look at what is typed, and ahead: what would the model write next?
  const TYPING_PAUSES = 300; // milliseconds
  let pause;
  document.addEventListener("input", (event) => {
    if (!event.target.closest("#prompt, #template")) return;
    clearTimeout(pause);
    pause = setTimeout(() => press("typed"), TYPING_PAUSES);
  });

  // Escape stops, wherever the cursor is.
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !event.defaultPrevented) press("stop");
  });

  // Pictures are drawn for light or dark; when the page changes its mind, they follow.
  let dark = document.body.classList.contains("dark");
  new MutationObserver(() => {
    const now = document.body.classList.contains("dark");
    if (now !== dark) {
      dark = now;
      redraw();
    }
  }).observe(document.body, { attributeFilter: ["class"] });

  // On a phone the open sidebar would cover the whole page.
  if (window.innerWidth < 768) document.querySelector(".sidebar.open .toggle-button")?.click();
  return [stored()];
}
