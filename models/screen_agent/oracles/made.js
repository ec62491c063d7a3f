// The made-up applications (pages/): what is left of their goals, in the order in which they were asked for.
(() => {
  const {click, fill, first} = ih;
  const step = goal => {
    if (goal.done) return {act: 'done'};
    if (goal.field) return fill(goal.field, goal.text, goal.source ?? 'instruction');
    if (goal.box) return goal.box.checked === goal.on ? null : click(goal.box.closest('label'));
    if (goal.radio) return goal.radio.checked ? null : click(goal.radio.closest('label'));
    if (goal.row) return goal.row.classList.contains('chosen') ? null : click(goal.row.tagName === 'TR' ? [...goal.row.children] : goal.row);
    if (goal.tab) return goal.tab.classList.contains('chosen') || goals.every(each => !each.box || each.box.checked === each.on)
      ? null : click(goal.tab);
    if (goal.menu) {
      const items = ih.all('.drop div').filter(item => ih.text(item) === goal.item);
      return click(items.length ? items : goal.menu);
    }
    return click(goal.press);
  };
  for (const kind of ['form', 'dialog', 'menu', 'table', 'list', 'tabs', 'links'])
    ih.task('made-' + kind, () => first(...goals.map(goal => () => step(goal))));
})();
