// What the interactive pictures share: colours, the tip beside the pointer, and clicks that lead on.
// VIRIDIS, 256 × (red, green, blue), stands before this script.
const stage = element.querySelector(".stage");
const tip = element.querySelector(".tip");

const isDark = () => document.body.classList.contains("dark");
const level = (share) => Math.round(255 * Math.min(1, Math.max(0, share)));
// The colour of a share from 0 to 1, and a colour of text that can be read on it.
const viridis = (share) => `rgb(${VIRIDIS.slice(3 * level(share), 3 * level(share) + 3).join()})`;
const inkOn = (share) => (share > 0.55 ? "black" : "white");

// The tab that this picture stands in, and what a click in it asks for: values of the tab's
// controls, {tab, …} for those of another tab, which comes into view, {position} for all tabs.
const ownTab = () => element.closest("[role=tabpanel]")?.id.replace("tab-", "");
const choose = (values) => window.gpt2lab.choose({ tab: ownTab(), ...values });

// Lines of text, or elements, beside a place of the window; they stay inside it.
const showTip = (lines, x, y) => {
  tip.replaceChildren(...lines.map((line) => (line.nodeType ? line : make("div", "", line))));
  if (!tip.matches(":popover-open")) tip.showPopover();
  const { width, height } = tip.getBoundingClientRect();
  const left = x + 14 + width < innerWidth ? x + 14 : x - 14 - width;
  const top = y + 14 + height < innerHeight ? y + 14 : y - 14 - height;
  tip.style.left = `${Math.max(4, Math.min(left, innerWidth - width - 4))}px`;
  tip.style.top = `${Math.max(4, top)}px`;
};
const hideTip = () => {
  if (tip.matches(":popover-open")) tip.hidePopover();
};
