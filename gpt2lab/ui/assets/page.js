() => {
  // Each inspection has a hidden button that draws it; the one in the tab in view is pressed.
  const redraw = () => {
    const buttons = [...document.querySelectorAll("button.redraw")];
    buttons.find((one) => one.closest("[role=tabpanel]")?.checkVisibility())?.click();
  };
  window.gpt2lab = { redraw };

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
}
