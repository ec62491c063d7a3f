// Draws one made-up application: a style, a kind, its parts, what is asked for, and when that is done.
//
//   goals   what must hold: {field, text} {box} {radio} {row} {press} …; `goals` is read by the oracle (oracles/made.js)
var goals = [], kind = new URLSearchParams(location.search).get('kind') ?? 'form';
(() => {
  const {pick, some, whole, lists, value} = words;
  const chance = share => Math.random() < share;
  const area = document.getElementById('area');
  const el = (tag, attributes = {}, ...inner) => {
    const made = Object.assign(document.createElement(tag), attributes);
    made.append(...inner);
    return made;
  };
  const say = text => { document.getElementById('query').textContent = text; };
  const quoted = text => chance(.6) ? `"${text}"` : text;

  const hsl = (h, s, l) => `hsl(${h}, ${s}%, ${l}%)`;
  const style = () => {
    const dark = chance(.25), hue = whole(0, 359), size = pick([10, 11, 12, 13, 13, 14, 15, 16, 18]);
    const back = dark ? hsl(hue, whole(0, 15), whole(10, 22)) : hsl(hue, whole(0, 25), whole(90, 100));
    const ink = dark ? '#eee' : pick(['#000', '#111', '#222', '#333']);
    const accent = hsl(whole(0, 359), whole(45, 85), dark ? 55 : 40), edge = dark ? '#666' : pick(['#999', '#bbb', '#767676', '#ccc']);
    const round = pick([0, 0, 2, 3, 4, 6, 10]), pad = pick([1, 2, 3, 4, 6, 8]);
    const fonts = ['Arial', 'DejaVu Sans', 'Liberation Sans', 'Roboto', 'Open Sans', 'Lato', 'Noto Sans', 'Cantarell', 'DejaVu Serif', 'Liberation Serif', 'FreeSans', 'Liberation Sans Narrow'];
    const button = pick([
      `background: ${dark ? '#444' : '#e8e8e8'}; color: ${ink}; border: 1px solid ${edge};`,
      `background: ${accent}; color: #fff; border: 1px solid ${accent};`,
      `background: linear-gradient(${dark ? '#555, #333' : '#fff, #ddd'}); color: ${ink}; border: 1px solid ${edge};`,
      `background: transparent; color: ${accent}; border: 2px solid ${accent};`,
      '']);
    const field = pick([
      `border: 1px solid ${edge}; border-radius: ${round}px;`,
      `border: 0; border-bottom: 2px solid ${edge};`,
      `border: 2px inset ${edge};`, '']);
    document.getElementById('style').textContent = `
      * { box-sizing: border-box; font-family: '${pick(fonts)}'; }
      html, body { margin: 0; background: ${back}; color: ${ink}; font-size: ${size}px; }
      #query { visibility: hidden; height: 0; overflow: hidden; }
      #area { padding: ${whole(2, 24)}px; position: relative; min-height: 200px; }
      h1 { font-size: ${size + whole(1, 6)}px; margin: 0 0 ${pad}px; }
      button { ${button} border-radius: ${round}px; padding: ${pad}px ${pad * 2 + 4}px; margin: 2px ${pad}px 2px 0; font-size: ${size}px; }
      input:not([type=checkbox]):not([type=radio]), textarea { ${field} padding: ${pad}px; font-size: ${size}px; background: ${dark ? '#222' : '#fff'}; color: ${ink}; width: ${whole(110, 190)}px; }
      .row { margin: ${pad + 1}px 0; } .row > .label { display: ${pick(['inline-block', 'inline-block', 'block'])}; width: 110px; }
      label { margin-right: ${pad + 4}px; }
      table { border-collapse: collapse; } td, th { ${pick([`border: 1px solid ${edge};`, `border-bottom: 1px solid ${edge};`, ''])} padding: ${pad}px ${pad + 4}px; text-align: left; }
      tr.chosen td { background: ${accent}; color: #fff; } tr.odd td { background: ${dark ? '#ffffff10' : '#00000008'}; }
      .bar { display: flex; background: ${dark ? '#333' : '#eee'}; margin: -2px 0 8px; } .bar > div { padding: ${pad}px ${pad + 6}px; }
      .drop { position: absolute; background: ${dark ? '#2b2b2b' : '#fff'}; border: 1px solid ${edge}; box-shadow: 2px 2px 6px #0005; z-index: 5; }
      .drop div { padding: ${pad}px ${pad + 14}px; } .drop div:hover, .bar > div:hover { background: ${accent}; color: #fff; }
      .dialog { position: absolute; background: ${back}; border: 1px solid ${edge}; box-shadow: 3px 3px 14px #0007; border-radius: ${round}px; z-index: 9; width: ${whole(200, 270)}px; }
      .dialog .title { background: ${pick([accent, dark ? '#444' : '#ddd'])}; padding: ${pad + 2}px 8px; display: flex; justify-content: space-between; }
      .dialog .text { padding: ${pad + 6}px 8px; } .dialog .feet { padding: 6px 8px; text-align: ${pick(['right', 'left', 'center'])}; }
      ul.list { list-style: none; padding: 0; margin: 4px 0; border: 1px solid ${edge}; max-height: ${whole(70, 120)}px; overflow-y: auto; width: 200px; }
      ul.list li { padding: ${pad}px 6px; } ul.list li.chosen { background: ${accent}; color: #fff; }
      .tabs { display: flex; border-bottom: 1px solid ${edge}; margin-bottom: 8px; } .tabs div { padding: ${pad}px ${pad + 6}px; border: 1px solid transparent; }
      .tabs .chosen { border: 1px solid ${edge}; border-bottom: 2px solid ${accent}; }
      .note { color: ${dark ? '#aaa' : '#666'}; }
      a { color: ${dark ? '#8cf' : '#04c'}; text-decoration: underline; cursor: pointer; }`;
  };

  const over = right => {
    core.achieved = right ? 1 : -1;
    if (!right) return core.endEpisode(-1);
    area.innerHTML = '';
    area.append(el('h1', {textContent: pick(['Saved', 'Done', 'Thank you', 'All set', 'Ready'])}),
      el('p', {textContent: pick(['Your changes were saved.', 'The request was sent.', 'Everything is up to date.', 'The window may be closed.'])}));
    goals = [{done: true}];
  };
  const holds = goal => goal.field ? goal.field.value === goal.text : goal.box ? goal.box.checked === goal.on
    : goal.radio ? goal.radio.checked : goal.row ? goal.row.classList.contains('chosen') : true;
  const finish = others => {
    const name = pick(lists.finish), button = el('button', {textContent: name});
    button.onclick = () => over(goals.every(goal => holds(goal)) && others());
    goals.push({press: button});
    return [name, button];
  };
  const feet = (name, button) => {
    const all = [button, ...some(lists.leave, whole(0, 2)).map(text => {
      const made = el('button', {textContent: text});
      made.onclick = () => over(false);
      return made;
    })];
    if (chance(.5)) all.reverse();
    return all;
  };
  const field = name => {
    const made = el('input', {type: 'text'});
    const placed = chance(.2);
    if (placed) made.placeholder = name;
    return [made, el('div', {className: 'row'}, ...(placed ? [] : [el('span', {className: 'label', textContent: name + pick(['', ':', ':'])})]), made)];
  };
  const joined = parts => parts.length === 1 ? parts[0] : parts.slice(0, -1).join(', ') + pick([' and ', ', then ', ' and then ']) + parts.at(-1);
  const press = name => pick([`press ${quoted(name)}`, `click ${quoted(name)}`, `click the ${quoted(name)} button`, `hit ${quoted(name)}`]);

  const form = () => {
    const names = some(lists.field, whole(1, 4)), parts = [], rows = [];
    if (chance(.5)) rows.push(el('h1', {textContent: pick(['Settings', 'New entry', 'Your details', 'Registration', 'Order', 'Contact'])}));
    const fields = names.map(name => ({name, row: field(name)}));
    const asked = some(fields, whole(1, Math.min(3, fields.length)));
    for (const {row} of fields) rows.push(row[1]);
    for (const {name, row} of asked) {
      const text = value(name);
      goals.push({field: row[0], text});
      parts.push(pick([`enter ${quoted(text)} as ${name}`, `set ${name} to ${quoted(text)}`, `type ${quoted(text)} into ${quoted(name)}`, `fill in ${name} with ${quoted(text)}`]));
    }
    if (chance(.6)) {
      const boxes = some(lists.option, whole(1, 3)).map(name => {
        const box = el('input', {type: 'checkbox', checked: chance(.25)});
        return {name, box, row: el('div', {className: 'row'}, el('label', {}, box, ' ' + name))};
      });
      const wanted = some(boxes, whole(1, boxes.length));
      for (const {row} of boxes) rows.push(row);
      for (const each of boxes) {
        const on = wanted.includes(each) ? !each.box.checked : each.box.checked;
        goals.push({box: each.box, on});
        if (wanted.includes(each)) parts.push(on ? pick([`tick ${quoted(each.name)}`, `check ${quoted(each.name)}`, `turn on ${quoted(each.name)}`])
          : pick([`untick ${quoted(each.name)}`, `uncheck ${quoted(each.name)}`, `turn off ${quoted(each.name)}`]));
      }
    }
    if (chance(.4)) {
      const choices = some(lists.choice, whole(2, 4)), group = pick(lists.group);
      const radios = choices.map(name => ({name, radio: el('input', {type: 'radio', name: 'group'})}));
      const right = pick(radios);
      rows.push(el('div', {className: 'row'}, el('span', {className: 'label', textContent: group}), ...radios.map(({name, radio}) => el('label', {}, radio, ' ' + name))));
      goals.push({radio: right.radio});
      parts.push(pick([`choose ${quoted(right.name)}`, `select ${quoted(right.name)} for ${group}`, `pick ${quoted(right.name)}`]));
    }
    const [name, button] = finish(() => true);
    parts.push(press(name));
    const text = joined(parts);
    say(text[0].toUpperCase() + text.slice(1) + '.');
    area.append(...rows, el('div', {className: 'row'}, ...feet(name, button)));
  };

  const dialog = () => {
    area.append(el('h1', {textContent: `${pick(lists.adjective)} ${pick(lists.noun)}`}), ...Array.from({length: whole(1, 4)}, () =>
      el('p', {className: 'note', textContent: Array.from({length: whole(4, 14)}, () => pick(lists.noun)).join(' ')})));
    const names = [...some(lists.finish, whole(1, 2)), ...some(lists.leave, whole(1, 2))];
    const buttons = names.map(name => el('button', {textContent: name}));
    const cross = el('span', {textContent: pick(['×', '✕', 'x'])});
    const title = pick(['Question', 'Warning', 'Confirm', 'Message', 'Notice', 'Error']);
    const box = el('div', {className: 'dialog'}, el('div', {className: 'title'}, el('span', {textContent: title}), cross),
      el('div', {className: 'text', textContent: pick(lists.question)}), el('div', {className: 'feet'}, ...buttons));
    box.style.left = whole(0, 120) + 'px';
    box.style.top = whole(10, 90) + 'px';
    area.append(box);
    if (chance(.25)) {
      const inner = el('input', {type: 'text'}), text = value('Title');
      box.querySelector('.text').append(el('br'), inner);
      const right = whole(0, names.length - 1);
      goals.push({field: inner, text}, {press: buttons[right]});
      say(`${pick(['Type', 'Enter'])} ${quoted(text)} in the dialog and ${press(names[right])}.`);
      buttons.forEach((button, place) => { button.onclick = () => over(place === right && inner.value === text); });
      cross.onclick = () => over(false);
      return;
    }
    const right = chance(.2) ? -1 : whole(0, names.length - 1);
    say(right < 0 ? pick(['Close the dialog by its cross.', 'Close the window with the x in its corner.', 'Dismiss the message with the cross.'])
      : pick([`In the dialog, ${press(names[right])}.`, `Answer the question with ${quoted(names[right])}.`, `Click on the ${quoted(names[right])} button.`]));
    goals.push({press: right < 0 ? cross : buttons[right]});
    buttons.forEach((button, place) => { button.onclick = () => over(place === right); });
    cross.onclick = () => over(right < 0);
  };

  const menu = () => {
    const tops = some(lists.menu, whole(3, 5)), items = some(lists.item, tops.length * 4);
    const chosen = whole(0, tops.length - 1), bar = el('div', {className: 'bar'});
    const inner = tops.map((_, place) => items.slice(place * 4, place * 4 + whole(2, 4)));
    const name = pick(inner[chosen]);
    let open = null;
    const close = () => { open?.remove(); open = null; };
    const head = tops.map((text, place) => {
      const made = el('div', {textContent: text});
      made.onclick = () => {
        const was = open?.place;
        close();
        if (was === place) return;
        open = el('div', {className: 'drop'}, ...inner[place].map(item => {
          const line = el('div', {textContent: item});
          line.onclick = () => over(item === name);
          return line;
        }));
        open.place = place;
        const at = made.getBoundingClientRect(), base = area.getBoundingClientRect();
        open.style.left = at.left - base.left + 'px';
        open.style.top = at.bottom - base.top + 'px';
        area.append(open);
      };
      bar.append(made);
      return made;
    });
    area.append(bar, ...Array.from({length: whole(1, 5)}, () => el('p', {textContent: Array.from({length: whole(4, 12)}, () => pick(lists.noun)).join(' ')})));
    goals.push({menu: head[chosen], item: name});
    say(pick([`Choose ${quoted(name)} in the ${tops[chosen]} menu.`, `Select ${tops[chosen]} > ${name}.`, `Open the menu ${quoted(tops[chosen])} and click ${quoted(name)}.`]));
  };

  const table = () => {
    const columns = some(['Name', 'City', 'Phone', 'Amount', 'Project', 'Department'], whole(2, 4));
    const rows = Array.from({length: whole(3, 7)}, () => columns.map(column => value(column)));
    const right = whole(0, rows.length - 1), made = el('table');
    made.append(el('tr', {}, ...columns.map(text => el('th', {textContent: text}))));
    const lines = rows.map((cells, place) => {
      const line = el('tr', {className: place % 2 ? 'odd' : ''}, ...cells.map(text => el('td', {textContent: text})));
      made.append(line);
      return line;
    });
    area.append(made);
    const key = rows[right][0];
    if (rows.filter(cells => cells[0] === key).length > 1) return table_again();
    if (chance(.5)) {
      lines.forEach(line => { line.onclick = () => { lines.forEach(each => each.classList.remove('chosen')); line.classList.add('chosen'); }; });
      goals.push({row: lines[right]});
      const [name, button] = finish(() => true);
      area.append(el('div', {className: 'row'}, ...feet(name, button)));
      say(`${pick(['Select', 'Click', 'Choose'])} the row of ${quoted(key)} and ${press(name)}.`);
      return;
    }
    const column = whole(1, columns.length - 1), [input, row] = field(pick(['Answer', 'Value', 'Result']));
    goals.push({field: input, text: rows[right][column], source: 'screen'});
    const [name, button] = finish(() => true);
    area.append(row, el('div', {className: 'row'}, ...feet(name, button)));
    say(pick([`Enter the ${columns[column]} of ${quoted(key)} into the field and ${press(name)}.`,
      `What is the ${columns[column]} of ${quoted(key)}? Type it into the field and ${press(name)}.`]));
  };
  const table_again = () => { area.innerHTML = ''; goals = []; table(); };

  const list = () => {
    const names = some([...lists.city, ...lists.last], whole(4, 12)), right = pick(names);
    const lines = names.map(text => el('li', {textContent: text}));
    lines.forEach(line => { line.onclick = () => { lines.forEach(each => each.classList.remove('chosen')); line.classList.add('chosen'); }; });
    goals.push({row: lines[names.indexOf(right)]});
    const [name, button] = finish(() => true);
    area.append(el('h1', {textContent: pick(['Places', 'People', 'Files', 'Results'])}), el('ul', {className: 'list'}, ...lines),
      el('div', {className: 'row'}, ...feet(name, button)));
    say(`${pick(['Select', 'Choose', 'Pick', 'Mark'])} ${quoted(right)} in the list and ${press(name)}.`);
  };

  const tabs = () => {
    const titles = some(['General', 'Network', 'Display', 'Sound', 'Privacy', 'Account', 'Advanced', 'Print'], whole(2, 4));
    const chosen = whole(0, titles.length - 1), body = el('div'), bar = el('div', {className: 'tabs'});
    const option = pick(lists.option), box = el('input', {type: 'checkbox'});
    const heads = titles.map(text => el('div', {textContent: text}));
    const fill = titles.map((_, place) => some(lists.option.filter(each => each !== option), 2).map(text =>
      el('div', {className: 'row'}, el('label', {}, el('input', {type: 'checkbox'}), ' ' + text))));
    fill[chosen].splice(whole(0, 2), 0, el('div', {className: 'row'}, el('label', {}, box, ' ' + option)));
    const show = place => {
      heads.forEach((head, each) => head.classList.toggle('chosen', each === place));
      body.replaceChildren(...fill[place]);
    };
    heads.forEach((head, place) => { head.onclick = () => show(place); bar.append(head); });
    show(whole(0, titles.length - 1));
    goals.push({tab: heads[chosen]}, {box, on: true});
    const [name, button] = finish(() => true);
    area.append(bar, body, el('div', {className: 'row'}, ...feet(name, button)));
    say(pick([`On the tab ${quoted(titles[chosen])}, tick ${quoted(option)} and ${press(name)}.`,
      `Go to ${quoted(titles[chosen])}, turn on ${quoted(option)} and ${press(name)}.`]));
  };

  const links = () => {
    const names = some([...lists.noun], whole(4, 9)), right = pick(names), body = el('div');
    for (const name of names) {
      body.append(Array.from({length: whole(1, 5)}, () => pick(lists.adjective)).join(' ') + ' ');
      const link = el('a', {textContent: name});
      link.onclick = () => over(name === right);
      if (name === right) goals.push({press: link});
      body.append(link, ' ');
    }
    area.append(el('h1', {textContent: pick(['News', 'Articles', 'Help', 'Contents'])}), body);
    say(pick([`Follow the link ${quoted(right)}.`, `Click on the link ${quoted(right)}.`, `Open ${quoted(right)}.`]));
  };

  const kinds = {form, dialog, menu, table, list, tabs, links};
  window.genProblem = () => {
    area.innerHTML = '';
    goals = [];
    style();
    kinds[kind]();
  };
})();
