// Draws the transcript: one paragraph a turn. Text enters as textContent only, so nothing that a
// person or a model writes can become markup. Turns that did not change are left alone, so that
// one can select text in them while a new one streams.
const row = () => {
  const turn = document.createElement("div");
  turn.append(document.createElement("span"), document.createElement("p"));
  turn.firstChild.className = "who";
  turn.lastChild.dir = "auto";
  return turn;
};
const write = (node, text) => {
  if (node.textContent !== text) node.textContent = text;
};
const draw = () => {
  const log = element.querySelector(".turns");
  if (!log) return;
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  const turns = props.value || [];
  while (log.children.length > turns.length) log.lastChild.remove();
  while (log.children.length < turns.length) log.append(row());
  turns.forEach((turn, index) => {
    const [who, text] = log.children[index].children;
    log.children[index].className = "turn " + (turn.role === "you" ? "you" : "model");
    text.className = turn.note ? "note" : "text";
    write(who, turn.role);
    write(text, turn.text);
  });
  if (atEnd) log.scrollTop = log.scrollHeight;
};
watch("value", draw);
draw();
