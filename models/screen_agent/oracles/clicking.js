// Pages where the right thing is clicked: by its words, its place, its kind, its colour.
(() => {
  const {task, one, all, text, match, named, click, hover, submit, first, wait} = ih;

  task(['click-button', 'unicode-test'], () => click(named('#area button', match(/^Click on the "(.*)" button/)[1])));
  task('click-test-2', () => click(one('#subbtn')));
  task('click-link', () => click(named('.alink', match(/link "(.*)"\./)[1])));
  task('click-dialog', () => click(one('.ui-dialog-titlebar button')));
  task('click-dialog-2', () => {
    const name = match(/labeled "(.*)"/)[1];
    return name === 'x' ? click(one('.ui-dialog-titlebar button')) : click(named('.ui-dialog-buttonset button', name));
  });
  task('click-tab', () => click(one(`#area ul a[href="#tabs-${match(/#(\d)/)[1]}"]`)));
  task('focus-text', () => click(one('#tt')));
  task('focus-text-2', () => click(one('#tt' + match(/(\d)/)[1])));
  task('click-widget', () => {
    const kind = match(/"(.*)" widget/)[1];
    return click(all(`#area [data-type="${kind}"]`));
  });
  task('click-color', () => {
    const name = match(/on the (.*) colored/)[1].trim();
    return click(all('#area .color').filter(box => box.dataset.color === name));
  });
  task('click-button-sequence', () => click(one(buttonsPushed.length ? '#subbtn2' : '#subbtn')));
  task('button-delay', () => {
    if (!buttonsPushed.length) return click(one('#subbtn'));
    const left = currentTime + 1000 * timeDelay - Date.now();
    // Of the waits that the agent knows, two of one second are two seconds.
    return left > 60 ? wait(left > 1300 && left < 2300 ? 1000 : left - 40) : click(one('#subbtn2'));
  });
  task('grid-coordinate', () => click(document.getElementById(match(/(\(.*\))/)[1])));

  // Tabs and sections that hide what is looked for: the next one after the open one, around.
  task('click-tab-2', () => {
    const found = click(named('.alink', match(/link "(.*)"\./)[1]).filter(link => link.offsetParent));
    if (found) return found;
    const tabs = all('#area ul li'), active = tabs.findIndex(tab => tab.classList.contains('ui-tabs-active'));
    return click(one('a', tabs[(active + 1) % tabs.length]));
  });
  task('click-collapsible', () => {
    const open = all('.ui-accordion-content').some(part => part.offsetParent);
    return open ? submit() : click(one('#area h3'));
  });
  task('click-collapsible-2', () => {
    const links = named('.alink', match(/link "(.*)"\./)[1]).filter(link => link.offsetParent);
    if (links.length) return click(links);
    const heads = all('#area h3'), active = heads.findIndex(head => head.classList.contains('ui-state-active'));
    return click(heads[(active + 1) % heads.length]);
  });
  task('navigate-tree', () => {
    const name = match(/named "(.*)"/)[1];
    const shown = all('#tree span').filter(span => span.offsetParent);
    const found = shown.filter(span => text(span) === name);
    if (found.length) return click(found);
    return click(shown.filter(span => span.matches('.folder') && span.closest('li').matches('.expandable')));
  });
  task('click-menu', () => {
    const path = match(/^Select (.*)$/)[1].split('>');
    let items = all('#menu > li');
    for (const [depth, name] of path.entries()) {
      const item = items.find(each => text(one(':scope > div', each)) === name);
      const label = one(':scope > div', item);
      if (depth === path.length - 1) return click(label);
      const inner = one(':scope > ul', item);
      if (!inner.offsetParent) return item.classList.contains('ui-state-active') || one('.ui-state-active', item)
        ? wait(300) : hover(label);
      items = all(':scope > li', inner);
    }
  });
  task('click-pie', () => {
    const name = match(/labeled "(.*)"/)[1];
    const titles = all('[id^="wheelnav-divWheel-title-"]');
    const right = titles.filter(title => text(title) === name || title.textContent === name);
    const shown = right.filter(title => title.getBoundingClientRect().width > 0
      && getComputedStyle(title).visibility !== 'hidden');
    const spread = all('[id*="spreader"]');  // and the sign on it, which covers its middle
    const wheel = one('[id^="wheelnav-divWheel-slice-0"]').getBoundingClientRect();
    if (wheel.width < 15) return click(spread);
    return click(shown);
  });

  // Boxes, circles and letters of a drawing.
  const kind = element => {
    const tag = element.tagName;
    if (tag === 'text') return /\d/.test(element.textContent) ? 'digit' : 'letter';
    return 'shape';
  };
  const shown = element => {
    const tag = element.tagName;
    const name = {rect: 'rectangle', circle: 'circle', polygon: 'triangle'}[tag] ?? element.textContent;
    const size = tag === 'text' ? parseFloat(element.getAttribute('font-size')) : element.getBBox().width;
    return {size: size > 15 ? 'large' : 'small', colour: element.getAttribute('fill'), name, type: kind(element)};
  };
  const fits = (element, words) => {
    const it = shown(element);
    return words.every(word => word === 'item' || [it.size, it.colour, it.name, it.type].includes(word));
  };
  const drawn = () => all('#area_svg > *');
  const dot = element => {
    const [x, y] = ih.centre(element);
    return element.tagName === 'text' ? [x - 2, y - 2, 4, 4] : null;
  };
  task('click-shape', () => {
    const words = match(/^Click on a (.*)$/)[1].split(' ');
    const right = drawn().filter(element => fits(element, words));
    const boxes = right.flatMap(element => dot(element)
      ? (document.elementFromPoint(...ih.centre(element)) === element ? [dot(element)] : ih.boxes(element))
      : ih.boxes(element).map(([x, y, w, h]) => [x + w * .25, y + h * .3, w * .5, h * .6]));
    return {act: 'click', boxes};
  });
  task('count-shape', () => {
    const words = match(/^How many (.*)s are there/)[1].split(' ');
    const count = drawn().filter(element => fits(element, words)).length;
    return click(named('#count-buttons button', String(count)));
  });
  task('identify-shape', () => {
    const it = shown(drawn()[0]);
    return click(one(`#area-buttons [data-type="${it.type === 'shape' ? it.name : it.type}"]`));
  });
  task('click-shades', () => {
    const colour = match(/shades of (\w+)/)[1];
    const spans = all('#area span');
    return first(
      () => click(spans.filter(span => span.className === 'selected' && span.dataset.color !== colour)),
      () => click(spans.filter(span => span.className !== 'selected' && span.dataset.color === colour)),
      () => click(one('#submit')));
  });
  task('ascending-numbers', () => {
    const numbers = all('#area_svg text').filter(element => element.textContent === '1');
    return click(numbers.length ? numbers : one('#area_svg rect'));
  });
  task('odd-or-even', () => {
    for (const row of all('#numbers .row')) {
      const odd = Math.abs(parseInt(text(one('.display-number', row)), 10)) % 2 === 1;
      const right = one(odd ? '.odd' : '.even', row);
      if (!right.classList.contains('selected')) return click(right);
    }
    return click(one('#submit'));
  });
  task('generate-number', () => {
    const number = parseInt(text(one('#display-number')), 10), asked = ih.query();
    const less = asked.match(/less than (\d+)/), more = asked.match(/greater than (\d+)/);
    const right = less ? number < less[1] : more ? number > more[1]
      : number % 2 === (/odd/.test(asked) ? 1 : 0);
    return click(one(right ? '#submit' : '#generate'));
  });
  task('find-greatest', () => {
    const cards = all('.card'), seen = ih.memory.seen ??= {};
    const open = cards.findIndex(card => !card.classList.contains('hidden'));
    if (open >= 0) seen[open] = parseInt(cards[open].textContent, 10);
    const unseen = cards.filter((card, place) => !(place in seen));
    if (unseen.length) return click(unseen[0]);
    const best = Object.keys(seen).reduce((a, b) => (seen[a] > seen[b] ? a : b));
    return +best === open ? click(one('#submit')) : click(cards[best]);
  });
  task('buy-ticket', () => {
    const wanted = match(/with the (.*)\./)[1];
    const value = flight => /cost/.test(wanted) ? +one('.buy-ticket', flight).dataset.price
      : +one('.time-duration', flight).dataset.duration;
    const flights = all('.flight'), sign = /cheapest|shortest/.test(wanted) ? 1 : -1;
    const best = Math.min(...flights.map(flight => sign * value(flight)));
    return click(flights.filter(flight => sign * value(flight) === best).map(flight => one('.buy-ticket', flight)));
  });
  task('count-sides', () => {
    ih.memory.sides ??= ih.sides(one('#c'));
    return click(one(`#form [data-sides="${ih.memory.sides}"]`));
  });
  task('tic-tac-toe', () => {
    const mine = MARKER_VALUE['mark-x'];
    const lines = [[0, 1, 2], [3, 4, 5], [6, 7, 8], [0, 3, 6], [1, 4, 7], [2, 5, 8], [0, 4, 8], [2, 4, 6]];
    const won = (board, who) => lines.some(line => line.every(place => board[place] === who));
    const free = board => board.map((mark, place) => mark ? -1 : place).filter(place => place >= 0);
    // The other side plays at random more than half of the time: the value of a move is what it brings on average.
    const value = (board, turn) => {
      if (won(board, mine)) return 1;
      if (won(board, -mine)) return -1;
      const places = free(board);
      if (!places.length) return -.5;
      const values = places.map(place => {
        const next = board.slice();
        next[place] = turn;
        return value(next, -turn);
      });
      if (turn === mine) return Math.max(...values);
      return .6 * values.reduce((a, b) => a + b) / values.length + .4 * Math.min(...values);
    };
    const board = gameState.slice();
    const places = free(board);
    const worth = places.map(place => {
      const next = board.slice();
      next[place] = mine;
      return value(next, -mine);
    });
    const best = Math.max(...worth);
    return click(places.filter((place, at) => worth[at] > best - 1e-9).map(place => one('#ttt-' + place)));
  });
})();
