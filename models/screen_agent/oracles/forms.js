// Pages with fields, boxes to tick, lists, dates, and text that is read from somewhere and typed somewhere else.
(() => {
  const {task, one, all, text, match, named, click, submit, first, fill, type, key, wait, memory} = ih;

  task('enter-text', () => fill(one('#tt'), match(/^Enter "(.*)" into/)[1]) ?? submit());
  task('enter-password', () => {
    const word = match(/password "(.*)" into/)[1];
    return fill(one('#password'), word) ?? fill(one('#verify'), word) ?? submit();
  });
  task('login-user', () => {
    const [, user, word] = match(/username "(.*)" and the password "(.*)" into/);
    return fill(one('#username'), user) ?? fill(one('#password'), word) ?? submit();
  });
  task('read-table', () => {
    const name = match(/value of (.*) into the/)[1];
    const row = all('#tab tr').find(each => text(each.children[0]) === name);
    return fill(one('#tt'), row.children[1].textContent, 'screen') ?? submit();
  });
  task('text-transform', () => fill(one('#tt'), one('#captcha').textContent, 'screen') ?? submit());
  task('find-word', () => {
    const place = parseInt(match(/(\d+)(st|nd|rd|th) word/)[1], 10);
    const word = one('#area p').textContent.trim().split(/\s+/)[place - 1].replace(/[^a-zA-Z]+/g, '');
    return fill(one('#answer-input'), word, 'screen') ?? submit();
  });
  task('scroll-text', () => {
    const area = one('#text-area');
    const word = area.value.trim().split(/\s/).pop().replace('.', '');
    const hidden = area.scrollHeight - area.clientHeight - area.scrollTop;
    if (hidden > 3 && one('#answer-input').value !== word) return ih.scroll_to_end(area);
    return fill(one('#answer-input'), word, 'screen') ?? submit();
  });
  task('simple-arithmetic', () => {
    const [, a, sign, b] = text(one('#math-problem')).match(/(\d+) ([-+x]) (\d+)/);
    const sum = sign === '+' ? +a + +b : sign === '-' ? a - b : a * b;
    return fill(one('#math-answer'), sum, 'computed') ?? submit();
  });
  task('visual-addition', () =>
    fill(one('#math-answer'), all('.addition-block').length, 'computed') ?? submit());
  task('guess-number', () => {
    const field = one('#tt'), shown = all('#feedback div').find(each => !each.classList.contains('hide'));
    const last = parseInt(one('span', shown)?.textContent ?? '', 10);
    const guess = shown.id === 'lower' ? Math.min(9, last - 1) : shown.id === 'higher' ? Math.max(0, last + 1) : 5;
    return fill(field, guess, 'computed') ?? submit();
  });

  const tick = (boxes, right) => first(
    () => click(boxes.filter(box => box.checked && !right(box)).map(box => box.labels?.[0] ?? box)),
    () => click(boxes.filter(box => !box.checked && right(box)).map(box => box.labels?.[0] ?? box)));
  const listed = names => names === 'nothing' ? [] : names.split(', ');
  task(['click-checkboxes', 'click-checkboxes-large'], () => {
    const names = listed(match(/^Select (.*) and click/)[1]);
    return tick(all('#area input'), box => names.includes(text(box.labels[0]))) ?? submit();
  });
  task('click-checkboxes-soft', () => {
    const names = listed(match(/similar to (.*) and click/)[1]);
    const alike = (a, b) => SYNONYMS.some(words => words.includes(a) && words.includes(b));
    return tick(all('#area input'), box => names.some(name => alike(name, text(box.labels[0])))) ?? submit();
  });
  task('click-option', () => {
    const name = match(/^Select (.*) and click/)[1];
    const right = all('#area input').filter(box => text(box.labels[0]) === name);
    return right.some(box => box.checked) ? submit() : click(right.map(box => box.labels[0]));
  });
  task('number-checkboxes', () => {
    const pattern = PATTERNS[+match(/number "(\d)"/)[1]].flat();
    const boxes = all('#checkboxes input');
    return tick(boxes, box => pattern[boxes.indexOf(box)] === 1) ?? submit();
  });
  task('form-sequence-2', () => {
    const [, radio, number, field] = match(/(\d)\w+ radio button and enter the number "(.*)" into the (\d)/);
    const chosen = all('#area input[type=radio]')[radio - 1];
    const wrong = all('#area input[type=text]').find((each, at) => at !== field - 1 && each.value);
    if (!chosen.checked) return click(chosen);
    if (wrong) return empty(wrong);
    return fill(one('#input-' + field), number) ?? submit();
  });
  const empty = field => {
    const selected = field.selectionStart === 0 && field.selectionEnd === field.value.length;
    return document.activeElement === field && selected ? key('backspace') : click(field, {count: 3});
  };

  task('click-scroll-list', () => {
    const names = match(/^Select (.*) from the scroll/)[1].split(', ');
    const options = all('#options option'), chosen = options.filter(option => option.selected);
    const wanted = options.filter(option => names.includes(option.value));
    const wrong = chosen.some(option => !wanted.includes(option));
    const left = wanted.filter(option => wrong || !option.selected);
    if (!left.length) return click(one('#area button'));
    return click(left[0], chosen.length && !wrong ? {modifiers: ['ctrl']} : {});
  });
  task('choose-list', () => {
    const name = match(/^Select (.*) from the list/)[1], list = one('#options');
    if (list.value === name) return click(one('#area button'));
    return {act: 'choose', list: ih.boxes(list)[0], count: list.options.length,
      place: [...list.options].findIndex(option => option.value === name)};
  });

  task('multi-layouts', () => {
    const [, genre, name, year] = match(/^Search for (.*) movies directed by (.*) from year (.*)\./);
    const wanted = {genre, director: name, year, 'movie genre': genre, 'director name': name, 'released date': year};
    for (const field of all('#area input')) {
      const row = field.closest('p, .row, tr, .field, .ui-entry') ?? field.parentElement;
      const move = fill(field, wanted[text(row).toLowerCase().replace(/:/g, '').trim()]);
      if (move) return move;
    }
    return click(all('#area button, #area .final, #area .ui-submit'));
  });

  // A date picker: the arrow towards the month, then the day.
  ih.pick = (field, date) => {
    const [month, day, year] = date.split('/').map(Number);
    if (field.value === date) return null;
    const picker = one('#ui-datepicker-div');
    if (!picker || !picker.offsetParent) return click(field);
    const names = ['January', 'February', 'March', 'April', 'May', 'June', 'July', 'August', 'September', 'October',
      'November', 'December'];
    const now = 12 * +text(one('.ui-datepicker-year', picker)) + names.indexOf(text(one('.ui-datepicker-month', picker)));
    const goal = 12 * year + month - 1;
    if (goal !== now) return click(one(goal < now ? '.ui-datepicker-prev' : '.ui-datepicker-next', picker));
    return click(all('td a', picker).filter(link => +text(link) === day));
  };
  task('choose-date', () => {
    const picker = one('#ui-datepicker-div');
    if (picker?.offsetParent && getComputedStyle(picker).opacity < 1) return wait(100);
    return ih.pick(one('#datepicker'), match(/Select (\S+) as/)[1]) ?? submit();
  });
  task('enter-date', () => {
    const date = match(/Enter (\S+) as/)[1], [month, day, year] = date.split('/');
    return typed(one('#tt'), `${year}-${month}-${day}`, month + day + year);
  });
  task('enter-time', () => {
    const [, hour, minute, half] = match(/Enter (\d+):(\d+)\s*([AP])M/);
    const hours = (+hour % 12 + (half === 'P' ? 12 : 0)).toString().padStart(2, '0');
    return typed(one('#tt'), `${hours}:${minute}`, hour.padStart(2, '0') + minute + half.toLowerCase() + 'm');
  });
  const typed = (field, value, keys) => {
    if (field.value === value) return submit();
    const [x, y, , h] = ih.boxes(field)[0];
    const start = {act: 'click', boxes: [[x + 4, y + h * .2, 11, h * .6]]};
    if (document.activeElement !== field || memory_of(field) !== 'ready') { ih.memory.ready = field.value; return start; }
    ih.memory.ready = null;
    return type(keys, 'computed');
  };
  const memory_of = field => ih.memory.ready === field.value ? 'ready' : '';

  task('use-autocomplete', () => {
    const [, begin] = match(/starts with "(.*?)"/), end = match(/ends with "(.*?)"/)?.[1] ?? '';
    const field = one('#tags'), right = value => value.startsWith(begin) && value.endsWith(end);
    const items = all('.ui-autocomplete li').filter(item => item.offsetParent);
    if (right(field.value) && (end || field.value !== begin || !items.length)) return submit();
    const fitting = items.filter(item => right(text(item)));
    if (fitting.length && field.value === begin) return click(fitting);
    if (field.value !== begin) { ih.memory.waited = 0; return fill(field, begin); }
    ih.memory.waited = (ih.memory.waited ?? 0) + 1;
    if (ih.memory.waited <= 5) return wait(300);
    ih.memory.waited = 1;
    return document.activeElement === field ? key('down') : click(field);
  });
  task('use-spinner', () => {
    const goal = +match(/Select (-?\d+)/)[1], now = parseInt(one('#spinner').value, 10) || 0;
    return goal === now ? submit() : click(one(goal > now ? '.ui-spinner-up' : '.ui-spinner-down'));
  });
  task('use-colorwheel', () => {
    const hex = ui_utils.colorNameToHex(match(/Select (\w+) with/)[1]).slice(1).toUpperCase();
    return fill(one('#col'), hex, 'computed') ?? submit() ?? aside();  // the picker may cover the button
  });
  // A click on the empty part of the page, which closes what has opened above it.
  const aside = () => {
    const frame = one('#wrap').getBoundingClientRect(), boxes = [];
    for (let y = frame.top + 4; y < frame.bottom - 12; y += 12) {
      const points = [frame.left + 140, frame.left + 150, frame.left + 156];
      if (points.every(x => document.elementFromPoint(x, y + 4)?.matches('#wrap, #area, body, html')))
        boxes.push([frame.left + 142, y, 14, 8]);
    }
    return boxes.length ? {act: 'click', boxes: boxes.reverse()} : null;
  };
  task('copy-paste', () => {
    const from = one('#to-copy'), to = one('#answer-input');
    if (!ih.memory.listening) {
      ih.memory.listening = true;
      const kept = ih.memory;
      document.addEventListener('copy', () => { if (document.activeElement === from) kept.copied = from.value; });
    }
    if (to.value === from.value) return submit();
    if (ih.memory.copied !== from.value) {
      if (document.activeElement !== from) return click(from);
      const whole = from.selectionStart === 0 && from.selectionEnd === from.value.length;
      return key(whole ? 'ctrl+c' : 'ctrl+a');
    }
    if (document.activeElement !== to) return click(to, {count: to.value ? 3 : 1});
    const whole = to.selectionStart === 0 && to.selectionEnd === to.value.length;
    return whole || !to.value ? key('ctrl+v') : click(to, {count: 3});
  });
  task('highlight-text', () => {
    const plain = words => words.replace(/\s/g, '');
    const paragraph = one('#randomText');
    if (plain(getSelection().toString()) === plain(paragraph.textContent)) return submit();
    return {act: 'click', count: 3, boxes: words_of(paragraph)};
  });
  const words_of = element => {
    const range = document.createRange();
    range.selectNodeContents(element);
    return [...range.getClientRects()].map(r => [r.left, r.top, r.width, r.height]).filter(box => box[2] > 4);
  };
  task('sign-agreement', () => {
    const name = match(/name "(.*)" then press "(.*)"/);
    if (!name) return click(one('#cancel'));
    if (one('#name').disabled) return ih.scroll_to_end(one('#text-area'));
    return fill(one('#name'), name[1]) ?? click(one(name[2] === 'Agree' ? '#agree' : '#cancel'));
  });
})();
