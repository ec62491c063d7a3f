// Pages that imitate whole applications: mail, search, contacts, flights, a terminal, an editor, a calendar, an order.
(() => {
  const {task, one, all, text, match, named, click, submit, first, fill, type, key, wait, drag, around, centre} = ih;
  const open = selector => all(selector).find(element => element.offsetParent);

  const mail = ({action, by, to, words}) => {
    const reply = open('#reply'), forward = open('#forward'), letter = open('#email');
    if (reply) {
      if (action !== 'reply' || text(one('.reply-sender', reply)) !== by) return click(one('#close-reply'));
      return fill(one('#reply-text'), words) ?? click(one('#send-reply'));
    }
    if (forward) {
      if (action !== 'forward') return click(one('#close-forward'));
      return fill(one('.forward-sender', forward), to) ?? click(one('#send-forward'));
    }
    if (letter) {
      if (text(one('.email-sender', letter)) !== by) return click(one('#close-email'));
      if (action === 'reply' || action === 'forward') return click(one('.email-' + action, letter));
      return click(one(action === 'delete' ? '.trash' : '.star', letter));
    }
    if (open('#search')) return click(one('#search-cancel'));
    const threads = all('#main .email-thread').filter(thread => text(one('.email-sender', thread)) === by);
    if (action === 'delete') return click(threads.map(thread => one('.trash', thread)));
    if (action === 'important') return click(threads.map(thread => one('.star', thread)));
    return click(threads.flatMap(thread => [...all('.email-sender, .email-subject, .email-body', thread)]));
  };
  task(['email-inbox', 'email-inbox-delete', 'email-inbox-forward', 'email-inbox-reply'], () => {
    const by = match(/email by (.*?) and /)[1];
    const words = match(/with the text "(.*)"\.$/), to = match(/forward that email to (.*)\.$/);
    if (words) return mail({action: 'reply', by, words: words[1]});
    if (to) return mail({action: 'forward', by, to: to[1]});
    return mail({action: match(/trash/) ? 'delete' : 'important', by});
  });
  task('email-inbox-forward-nl', () => mail({action: 'forward', ...core.currentFields}));

  task('social-media', () => {
    const [, user, what] = match(/^For the user (\S+), click on the "(.*)" button/);
    const posts = all('.media').filter(post => text(one('.username', post)) === user);
    const icon = {Reply: '.reply', Retweet: '.retweet', Like: '.like'}[what];
    if (icon) return click(posts.map(post => one(icon, post)));
    const opened = posts.filter(post => one('ul', post).offsetParent);
    const items = opened.flatMap(post => all('ul li', post)).filter(item => text(item).startsWith(what));
    return click(items.length ? items : posts.map(post => one('.more', post)));
  });
  task('search-engine', () => {
    const words = match(/enter "(.*)" and press/)[1], place = +match(/the (\d+)\w\w search result/)[1];
    const field = one('#search-text'), shown = all('.search-title');
    const page = parseInt(one('#pagination .active')?.textContent ?? '0', 10);
    if (field.value !== words) return fill(field, words);
    const asked = ih.memory.asked === words && shown.length && shown[0].dataset.result !== '-1';
    if (!asked) { ih.memory.asked = words; return click(one('#search')); }
    const goal = Math.ceil(place / 3);
    if (page !== goal) return click(all('#pagination a').filter(link => text(link) === String(goal)));
    return click(shown[(place - 1) % 3]);
  });
  task('phone-book', () => {
    const [, name, what] = match(/^Find (.*) in the contact book and click on their (\w+)/);
    if (text(one('#contact .name')) === name) return click(one('#contact .' + what));
    const next = all('#pagination a').find(link => text(link) === '>' && link.offsetParent);
    return next ? click(next) : click(all('#pagination a').filter(link => text(link) === '<'));
  });
  task('book-flight', () => {
    const [, wish, from, to, date] = match(/^Book the (\w+) one-way flight from: (.*) to: (.*) on: (.*)\.$/)
      ?? match(/^Book the (\w+) one-way flight from: (.*) to: (.*) on (.*)\.$/);
    const city = (field, name) => {
      if (DOMESTIC_FLIGHTS.includes(field.value) && field.value.includes(name)) return null;
      const items = all('.ui-autocomplete li').filter(item => item.offsetParent && text(item).includes(name));
      if (field.value === name) return items.length ? click(items) : wait(300);
      return fill(field, name);
    };
    if (open('#menu')) return city(one('#flight-from'), from) ?? city(one('#flight-to'), to)
      ?? ih.pick(one('#datepicker'), date) ?? click(one('#search'));
    const flights = all('.flight');
    const value = flight => wish === 'cheapest' ? +one('.flight-price', flight).dataset.price
      : +one('.time-duration', flight).dataset.duration;
    const best = Math.min(...flights.map(value));
    return click(flights.filter(flight => value(flight) === best).map(flight => one('.flight-price', flight)));
  });
  task('order-food', () => {
    const names = match(/^Order one of each item: (.*)$/), kind = match(/^Order (\d) items that are (.*)$/);
    const items = all('.food-item'), count = item => +item.dataset.quantity;
    const minus = wrong => click(wrong.map(item => one('.remove', item)));
    const plus = right => click(right.map(item => one('.add', item)));
    if (names) {
      const wanted = names[1].split(/\s*, /).map(name => name.trim());
      const goal = item => +wanted.includes(item.dataset.item.trim());
      return first(() => minus(items.filter(item => count(item) > goal(item))),
        () => plus(items.filter(item => count(item) < goal(item)).slice(0, 1)),
        () => click(one('#submit-order button')));
    }
    const fits = item => MENU[item.dataset.id].types.includes(kind[2]);
    const total = items.reduce((sum, item) => sum + count(item), 0);
    return first(() => minus(items.filter(item => count(item) > 0 && (!fits(item) || total > +kind[1]))),
      () => total < +kind[1] ? plus(items.filter(fits)) : null,
      () => click(one('#submit-order button')));
  });
  task('terminal', () => {
    if (document.activeElement !== one('#terminal-target')) return click(one('#terminal-contents'));
    const line = one('#active-input').textContent, shown = all('.terminal-output').map(each => each.textContent.trim());
    const ending = match(/extension (\.\S+)$/)?.[1] ?? '';
    const listed = shown.find(each => each === currentFiles.join(' '));
    const right = currentFiles.filter(name => ending ? name.endsWith(ending) : !name.includes('.'));
    const goal = listed ? 'rm ' + right[0] : 'ls';
    if (line === goal) return key('enter');
    if (!goal.startsWith(line)) return key('backspace');
    return type(goal.slice(line.length), listed ? 'screen' : 'computed');
  });
  task('text-editor', () => {
    const asked = ih.query(), format = editor.getSelection();
    const everything = /everything/.test(asked);
    const style = asked.match(/the style (\w+)/)?.[1], colour = asked.match(/the color (\w+)/)?.[1];
    const plain = editor.getText().replace(/\n$/, '');
    const word = everything ? plain : asked.match(/give the text (.*?) the (?:style|color)/)[1];
    const start = plain.split(' ').reduce((at, each) => at.found ? at
      : each === word ? {found: true, at: at.at} : {at: at.at + each.length + 1}, {at: 0}).at;
    const place = everything ? 0 : start;
    const name = {bold: 'bold', italics: 'italic', underlined: 'underline'}[style] ?? 'color';
    const has = editor.getFormat(place, word.length)[name];
    if (style ? has : COLOR_MAP[colour].includes(has)) return submit();
    const chosen = format && format.index === place && format.length >= word.length && format.length <= word.length + 1;
    const picker = one('.ql-color .ql-picker-options'), opened = one('.ql-color.ql-expanded');
    if (opened && colour) {
      const right = all('.ql-picker-item', picker).filter(item => COLOR_MAP[colour].includes(item.dataset.value));
      return click(right);
    }
    const bare = word.replace(/[.,]$/, '');  // a double click leaves out what ends the word
    if (format && format.index === place && bare !== word && format.length === bare.length) return key('shift+right');
    if (chosen) return click(one(style ? '.ql-' + name : '.ql-color .ql-picker-label'));
    if (everything) return editor.hasFocus() ? key('ctrl+a') : click(one('.ql-editor p'));
    const node = range_of(one('.ql-editor'), place, bare.length);
    return {act: 'click', count: 2, boxes: node};
  });
  const range_of = (element, start, length) => {
    const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT), range = document.createRange();
    let at = 0, began = false;
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      const size = node.data.length;
      if (!began && start < at + size) { range.setStart(node, start - at); began = true; }
      if (began && start + length <= at + size) { range.setEnd(node, start + length - at); break; }
      at += size;
    }
    return [...range.getClientRects()].map(r => [r.left, r.top, r.width, r.height]);
  };
  task('daily-calendar', () => {
    const [, amount, unit, name, low, high] =
      match(/^Create a ([\d.]+) (hours?|mins) event named "(.*)", between (\w+) and (\w+)\.$/);
    const slots = unit === 'mins' ? amount / 30 : amount * 2;
    const made = one('#create-event');
    if (made) {
      if (+one('#newEvent').dataset.duration !== slots) return click(one('.cancel', made));
      return fill(one('#event-name'), name) ?? click(one('.create', made));
    }
    const hour = words => parseInt(words, 10) % 12 + (/PM/.test(words) ? 12 : 0);
    const taken = all('.event').filter(each => each.id !== 'newEvent').map(each => {
      const top = Math.round((parseFloat(each.style.top) - 4) / 20.42);
      return [top, top + +each.dataset.duration];
    });
    // An event may touch no other one: the page counts touching as overlapping.
    for (let from = 2 * hour(low); from + slots <= 2 * hour(high); from++) {
      if (taken.some(([a, b]) => from < b && from + slots > a)) continue;
      const parts = all('.half-hour').slice(from, from + slots);
      const tops = [parts[0], parts[slots - 1]].map(part => ih.boxes(part));
      if (!tops[0].length) return ih.scroll(parts[0]);
      if (!tops[1].length) return ih.scroll(parts[slots - 1]);
      const inner = ([x, y, w, h]) => [x + w * .3, y + h * .3, w * .4, h * .4];
      return drag(tops[0].map(inner), tops[1].map(inner), {least: 6});
    }
    return null;
  });
})();
