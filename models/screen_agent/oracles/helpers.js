// What every oracle is made of: boxes that a pointer can really reach, scrolling towards what it cannot, typing into
// fields. An oracle is a function of the page as it is now: `ih.task(name, () => move)`; null means: nothing to do yet.
//
//   move   {act: 'click' | 'move' | 'drag' | 'scroll' | 'type' | 'key' | 'wait', boxes, ends, at, to, ...}
//   boxes  [[x, y, w, h]...] in CSS pixels of the window; any of them is right
//   at     the one point to take where any point of the boxes is not as good as another
//
// `ih.memory` lives for one episode: what a person would remember, never what the page hides.
window.ih = (() => {
  const tasks = {};
  const ih = {tasks, memory: {}, view: {w: innerWidth, h: innerHeight}};
  const NOTCH = 120;  // CSS pixels that one notch of the wheel scrolls, measured; at most a page in a text area
  const NOTCHES = [10, 3, 1];  // that the agent can turn it by

  ih.task = (name, oracle) => { for (const each of [].concat(name)) tasks[each] = oracle; };
  ih.next = name => tasks[name]();
  ih.reset = view => { ih.memory = {}; ih.view = view; };
  ih.one = (selector, root = document) => root.querySelector(selector);
  ih.all = (selector, root = document) => [...root.querySelectorAll(selector)];
  ih.text = element => (element.innerText ?? element.textContent).replace(/\s+/g, ' ').trim();
  ih.query = () => {
    const told = core.getUtterance();
    return typeof told === 'string' ? told : told.utterance;
  };
  ih.match = pattern => ih.query().match(pattern);
  ih.named = (selector, text) => ih.all(selector).filter(element => ih.text(element) === text);

  const cut = (box, by) => {
    const x = Math.max(box[0], by[0]), y = Math.max(box[1], by[1]);
    return [x, y, Math.min(box[0] + box[2], by[0] + by[2]) - x, Math.min(box[1] + box[3], by[1] + by[3]) - y];
  };
  const rect = r => [r.left, r.top, r.width, r.height];
  const clips = element => !/visible/.test(getComputedStyle(element).overflow);
  const window_box = () => [0, 0, Math.min(innerWidth, ih.view.w), Math.min(innerHeight, ih.view.h)];

  const reaches = (element, x, y) => {
    const top = document.elementFromPoint(x, y);
    return top !== null && (element.contains(top) || (element.tagName === 'OPTION' && top === element.parentElement));
  };

  const WHOLE = [[.5, .5], [.2, .5], [.8, .5], [.5, .25], [.5, .75]];
  const EDGEWARDS = [.5, .2, .8, .35, .65, .08, .92, .02, .98];
  const PARTS = EDGEWARDS.flatMap(a => EDGEWARDS.map(b => [a, b]));
  // The parts of `element` that show and that a click reaches.
  ih.boxes = (element, covered = false) => {
    if (getComputedStyle(element).visibility === 'hidden') return [];
    const inline = getComputedStyle(element).display === 'inline' && !(element instanceof SVGElement);
    const found = inline ? [...element.getClientRects()] : [element.getBoundingClientRect()];
    const boxes = [];
    for (let box of found.map(rect)) {
      box = cut(box, window_box());
      for (let up = element.parentElement; up; up = up.parentElement)
        if (up !== document.documentElement && up !== document.body && clips(up))
          box = cut(box, rect(up.getBoundingClientRect()));
      const [x, y, w, h] = box;
      if (w < 2 || h < 2) continue;
      const free = ([a, b]) => reaches(element, x + a * w, y + b * h);
      if (covered || WHOLE.every(free)) boxes.push(box);
      else if (free([.5, .5])) boxes.push([x + w * .35, y + h * .35, w * .3, h * .3]);
      else {  // something lies above a part of it
        const part = PARTS.find(free);
        if (part) boxes.push(ih.around(x + part[0] * w, y + part[1] * h, .5));
      }
    }
    return boxes;
  };

  // A turn of the wheel towards `element`, if anything around it can be scrolled: a page at most, since how far away it
  // is cannot be seen.
  ih.scroll = element => {
    const own = element.getBoundingClientRect(), middle = own.top + own.height / 2;
    const towards = (frame, top, height) => {
      const by = middle - top - height / 2, far = Math.min(Math.abs(by), height) / NOTCH;
      return wheel(frame, Math.sign(by) * (NOTCHES.find(notches => notches <= far) ?? 1));
    };
    for (let up = element.parentElement; up; up = up.parentElement) {
      if (up === document.body || up === document.documentElement) break;
      if (!/auto|scroll/.test(getComputedStyle(up).overflowY) && up.tagName !== 'SELECT') continue;
      if (up.scrollHeight <= up.clientHeight + 1) continue;
      const frame = up.getBoundingClientRect();
      if (own.top >= frame.top - 1 && own.bottom <= frame.bottom + 1) continue;
      return towards(up, frame.top, frame.height);
    }
    const page = document.scrollingElement, height = window_box()[3];
    if (page.scrollHeight > page.clientHeight + 1 && (own.bottom > height || own.top < 0))
      return towards(page, 0, height);
    return null;
  };
  const wheel = (element, dy) => {
    const boxes = element === document.scrollingElement ? [window_box()] : ih.boxes(element, true);
    return {act: 'scroll', boxes, dy};
  };
  ih.scroll_to_end = element => wheel(element, NOTCHES[0]);

  const pointer = (act, elements, more = {}) => {
    elements = [].concat(elements).filter(Boolean);
    const boxes = elements.flatMap(element => ih.boxes(element));
    if (boxes.length) return {act, boxes, ...more};
    for (const element of elements) {
      const move = element.getClientRects().length ? ih.scroll(element) : null;
      if (move) return move;
    }
    return null;
  };
  ih.click = (elements, more) => pointer('click', elements, more);
  ih.hover = (elements, more) => pointer('move', elements, more);
  ih.at = (x, y, boxes, more = {}) => ({act: 'click', at: [x, y], boxes: boxes ?? [[x - 2, y - 2, 5, 5]], ...more});
  ih.type = (text, source) => ({act: 'type', text: String(text), source});
  ih.key = chord => ({act: 'key', chord});
  ih.wait = ms => ({act: 'wait', ms: Math.ceil(ms)});
  ih.drag = (from, ends, more = {}) => ({act: 'drag', boxes: from, ends, ...more});
  ih.centre = element => {
    const r = element.getBoundingClientRect();
    return [r.left + r.width / 2, r.top + r.height / 2];
  };
  ih.around = (x, y, by = 2) => [x - by, y - by, 2 * by + 1, 2 * by + 1];

  // What is left to do until `field` holds `text`: null when it does.
  ih.fill = (field, text, source = 'instruction') => {
    text = String(text);
    if (field.value === text) return null;
    const aim = count => {
      const move = ih.click(field, {count});
      if (move?.act === 'click' && field.type === 'number')  // its arrows are at the right
        move.boxes = move.boxes.map(([x, y, w, h]) => [x, y, w * .5, h]);
      return move;
    };
    if (document.activeElement !== field) return aim(field.value ? 3 : 1);
    const whole = field.value === '' || getSelection().toString() === field.value
      || (field.selectionStart === 0 && field.selectionEnd === field.value.length);
    return whole ? ih.type(text, source) : aim(3);
  };
  ih.first = (...moves) => { for (const move of moves) { const made = move(); if (made) return made; } return null; };
  ih.submit = (selector = '#subbtn') => ih.click(ih.one(selector));

  // Where a disturbance may click without ending an episode of forms.
  ih.harmless = () => ih.all('#area input, #area textarea, #area select, #area h3, #area label')
    .flatMap(element => ih.boxes(element));
  return ih;
})();
