// Pages of geometry and of dragging: points, angles, sliders, sorting, drawing.
(() => {
  const {task, one, all, text, match, click, submit, first, key, drag, centre, around, at} = ih;

  // How many corners the outline on a canvas has: the farthest pixels in every direction, counted where they peak.
  // The directions are fewer than the outline's pixels, so that each has some.
  ih.sides = canvas => {
    const {width, height} = canvas, data = canvas.getContext('2d').getImageData(0, 0, width, height).data;
    const steps = 120, far = new Array(steps).fill(0);
    for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {
      if (data[4 * (y * width + x) + 3] < 128) continue;
      const angle = Math.atan2(y - height / 2, x - width / 2);
      const place = Math.round((angle / (2 * Math.PI) + 1) * steps) % steps;
      far[place] = Math.max(far[place], Math.hypot(x - width / 2, y - height / 2));
    }
    let best = 3, most = -1;
    for (let sides = 3; sides <= 7; sides++) {
      let re = 0, im = 0;
      far.forEach((r, place) => {
        re += r * Math.cos(2 * Math.PI * sides * place / steps);
        im += r * Math.sin(2 * Math.PI * sides * place / steps);
      });
      const power = Math.hypot(re, im);
      if (power > most) { most = power; best = sides; }
    }
    return best;
  };

  const svg = () => one('#area svg').getBoundingClientRect();
  const dots = selector => all(selector).map(centre);
  const near = (a, b, by) => Math.hypot(a[0] - b[0], a[1] - b[1]) <= by;
  // Puts the blue point at one of `points` (the first that is inside), then submits.
  const put = (points, by = 2) => {
    const area = svg(), blue = one('#blue-circle');
    const inside = points.filter(([x, y]) => x > area.left + 3 && x < area.right - 3 && y > area.top + 3
      && y < Math.min(area.bottom, one('#subbtn').getBoundingClientRect().top) - 3);
    if (blue && points.some(point => near(centre(blue), point, by + 1))) return submit();
    if (!inside.length) return null;
    // The page draws its point beside the pointer, by as much as the drawing lies inside the page's own margin.
    const aimed = inside.map(([x, y]) => [x - area.left, y - (area.top - 50)]);
    const [x, y] = aimed[Math.floor(aimed.length / 2)];
    return at(x, y, aimed.map(point => around(...point, by)));
  };
  task('circle-center', () => put([centre(one('.black-circle'))]));
  task('find-midpoint', () => {
    const [a, b] = dots('.black-circle');
    return put([[(a[0] + b[0]) / 2, (a[1] + b[1]) / 2]]);
  });
  // Points at growing distance from `from` in the direction of `angle`.
  const ray = (from, angle, lengths) => lengths.map(r => [from[0] + r * Math.cos(angle), from[1] + r * Math.sin(angle)]);
  const steps = (low, high) => Array.from({length: Math.floor((high - low) / 6) + 1}, (_, n) => low + 6 * n);
  task('right-angle', () => {
    const [a] = dots('#init-black'), [corner] = dots('#init-blue');
    const angle = Math.atan2(a[1] - corner[1], a[0] - corner[0]) + Math.PI / 2;
    return put(ray(corner, angle, [...steps(-110, -14), ...steps(14, 110)]), 1);
  });
  task('bisect-angle', () => {
    const [a, b] = dots('.init-black'), [corner] = dots('.init-blue');
    const to = point => Math.atan2(point[1] - corner[1], point[0] - corner[0]);
    let turn = to(b) - to(a);
    if (turn > Math.PI) turn -= 2 * Math.PI;
    if (turn < -Math.PI) turn += 2 * Math.PI;
    return put(ray(corner, to(a) + turn / 2, steps(16, 90)), 1);
  });

  // A jQuery slider: a click on the track where the value lies, then the arrow keys for what is left.
  ih.slide = goal => {
    const slider = $('#slider'), now = slider.slider('value');
    if (now === goal) return null;
    const [low, high] = [slider.slider('option', 'min'), slider.slider('option', 'max')];
    const track = one('#slider').getBoundingClientRect(), handle = one('.ui-slider-handle');
    const upright = slider.slider('option', 'orientation') === 'vertical';
    const length = upright ? track.height : track.width, step = length / (high - low);
    const part = (goal - low) / (high - low);
    const x = upright ? track.left + track.width / 2 : track.left + part * track.width;
    const y = upright ? track.bottom - part * track.height : track.top + track.height / 2;
    const grip = handle.getBoundingClientRect();
    const reach = upright ? Math.abs(y - (grip.top + grip.height / 2)) : Math.abs(x - (grip.left + grip.width / 2));
    const size = upright ? grip.height : grip.width;
    if (reach > size / 2 + 2 && part > 0.005 && part < 0.995) {
      const half = Math.max(.5, Math.min(step / 2, 3)), thick = (upright ? track.width : track.height) / 2 - 1;
      const box = upright ? [x - thick, y - half, 2 * thick, 2 * half] : [x - half, y - thick, 2 * half, 2 * thick];
      return at(x, y, [box]);
    }
    if (document.activeElement !== handle) return click(handle);
    if (part <= 0.005 && reach > 3 * size) return key('home');
    if (part >= 0.995 && reach > 3 * size) return key('end');
    return key(goal > now ? (upright ? 'up' : 'right') : (upright ? 'down' : 'left'));
  };
  task('use-slider', () => ih.slide(+match(/Select (-?\d+) with/)[1]) ?? submit());
  task('form-sequence', () => {
    const [, value, place] = match(/Select (-?\d+) with the slider, click the (\d)/);
    const boxes = all('#area input[type=checkbox]');
    return ih.slide(+value) ?? first(
      () => click(boxes.filter((box, n) => box.checked && n !== place - 1)),
      () => click(boxes.filter((box, n) => !box.checked && n === place - 1)),
      () => submit());
  });

  // Sortable lists: an item goes where its middle passes another's.
  const sort = (item, goal) => {
    const items = all('#sortable li'), from = items.indexOf(item);
    const [x, y] = centre(items[goal]), down = goal > from;
    const r = items[goal].getBoundingClientRect();
    const wide = all('#sortable li')[1].getBoundingClientRect().top === items[0].getBoundingClientRect().top;
    const past = wide ? 0 : (down ? 4 : -4);
    const side = wide ? (goal > from ? 4 : -4) : 0;
    const grip = ih.boxes(item).map(([bx, by, w, h]) => [bx + w * .3, by + h * .35, w * .4, h * .3]);
    const by = wide ? 4 : 3;
    return drag(grip, [around(x + side, y + past, by)], {from: centre(item), to: [x + side, y + past]});
  };
  // "Down by one" is from where it stood at first: the page ends a moment after the item lies there.
  const sort_once = (item, goal) => {
    ih.memory.goal ??= goal;
    return all('#sortable li').indexOf(item) === ih.memory.goal ? null : sort(item, ih.memory.goal);
  };
  task('drag-items', () => {
    const [, name, where] = match(/^Drag (.*?) (to the .*|down by one position|up by one position)\.?$/);
    const items = all('#sortable li'), from = items.findIndex(item => text(item) === name);
    const place = /top/.test(where) ? 0 : /bottom/.test(where) ? items.length - 1 : /down/.test(where) ? from + 1
      : /up/.test(where) ? from - 1 : parseInt(where.match(/\d/)[0], 10) - 1;
    return sort_once(items[from], place);
  });
  task('drag-items-grid', () => {
    const [, name, where] = match(/^Drag (.*?) ((?:to the|up|down|left|right) .*)\.$/);
    const items = all('#sortable li'), from = items.findIndex(item => text(item) === name);
    const row = /top/.test(where) ? 0 : /bottom/.test(where) ? 2 : 1;
    const column = /left/.test(where) ? 0 : /right/.test(where) ? 2 : 1;
    const step = {up: -3, down: 3, left: -1, right: 1}[where.split(' ')[0]];
    return sort_once(items[from], step ? from + step : 3 * row + column);
  });
  task('drag-sort-numbers', () => {
    const items = all('#sortable li'), numbers = items.map(item => parseInt(text(item), 10));
    const sorted = numbers.slice().sort((a, b) => a - b);
    const place = numbers.findIndex((number, n) => number !== sorted[n]);
    if (place < 0) return submit();
    return sort(items[numbers.indexOf(sorted[place], place)], place);
  });
  task('drag-box', () => {
    if (smallBoxContained()) return submit();
    const small = one('#draggableSmall'), large = one('#draggableLarge');
    const [x, y] = centre(large);
    return drag(ih.boxes(small), [around(x, y, 9)], {from: centre(small), to: [x, y]});
  });
  task('drag-shapes', () => {
    const kind = match(/Drag all (\w+)s/)[1];
    const tag = {rectangle: 'rect:not(#shape-container)', circle: 'circle', triangle: 'polygon'}[kind];
    const left = all('#area_svg ' + tag).filter(shape => !insideContainer(shape));
    const wrong = all('#area_svg rect:not(#shape-container), #area_svg circle, #area_svg polygon')
      .filter(shape => !shape.matches(tag) && insideContainer(shape));
    const box = one('#shape-container').getBoundingClientRect();
    const inner = [box.left + 14, box.top + 12, box.width - 28, box.height - 22];
    if (wrong.length) {
      const area = svg();
      const away = box.top - area.top > 40 ? [area.left + 60, area.top + 15] : [area.left + 60, area.bottom - 15];
      return drag(ih.boxes(wrong[0]), [around(...away, 5)]);
    }
    if (!left.length) return submit();
    // Each at a place of its own, so that none covers another.
    const done = all('#area_svg ' + tag).length - left.length;
    const to = [inner[0] + (inner[2] * (done + .5)) / 4, inner[1] + inner[3] / 2];
    const boxes = left.flatMap(shape => ih.boxes(shape)).map(([x, y, w, h]) => [x + w * .25, y + h * .35, w * .5, h * .4]);
    return drag(boxes.slice(0, 1).concat(boxes.slice(1)), [inner], {to});
  });
  task('resize-textarea', () => {
    const [, side, way] = match(/so that the (\w+) is (\w+) than/), area = one('#tt'), wide = side === 'width';
    ih.memory.start ??= {width: $('#tt').width(), height: $('#tt').height()};
    const now = wide ? $('#tt').width() : $('#tt').height(), start = ih.memory.start[side];
    if (way === 'larger' ? now > start + 2 : now < start - 2) return submit('#submit');
    const grip = one('.ui-resizable-se') ?? one(wide ? '.ui-resizable-e' : '.ui-resizable-s');
    const [x, y] = centre(grip), by = (way === 'larger' ? 1 : -1) * 18 + (start - now);
    const to = wide ? [x + by, y] : [x, y + by];
    const slack = wide ? [to[0] - 8, to[1] - 10, 17, 21] : [to[0] - 10, to[1] - 8, 21, 17];
    return drag(ih.boxes(grip), [slack], {to});
  });

  // Drawing: a drag along many points.
  task('draw-line', () => {
    const across = /horizontal/.test(ih.query());
    if (one('svg path')) {
      const r = one('svg path').getBoundingClientRect(), [x, y] = centre(one('#circ'));
      const straight = across ? r.height < 12 && r.width > 15 && Math.abs(y - r.top - r.height / 2) < 6
        : r.width < 12 && r.height > 15 && Math.abs(x - r.left - r.width / 2) < 6;
      if (straight) return click(one('#controls button'));
    }
    const [x, y] = centre(one('#circ')), area = svg(), by = 36;
    const low = across ? Math.max(area.left + 6, x - by) : Math.max(area.top + 6, y - by);
    const high = across ? Math.min(area.right - 6, x + by) : Math.min(area.bottom - 6, y + by);
    const start = across ? [low, y] : [x, low], end = across ? [high, y] : [x, high];
    return drag([around(...start, 2)], [around(...end, 2)], {from: start, to: end});
  });
  task('draw-circle', () => {
    if (one('svg path')) return click(one('#controls button'));
    const [x, y] = centre(one('#circ')), area = svg();
    const r = Math.min(24, x - area.left - 3, area.right - x - 3, y - area.top - 3, area.bottom - y - 3);
    const path = [];
    for (let n = 0; n <= 24; n++)
      path.push([x + r * Math.cos(n * Math.PI / 12), y + r * Math.sin(n * Math.PI / 12)]);
    return drag([around(...path[0], 2)], [around(...path[24], 2)], {path});
  });
  task('chase-circle', () => {
    const circle = one('#circ');
    return circle ? {act: 'move', boxes: [around(...centre(circle), 6)], at: centre(circle)} : null;
  });
  task('moving-items', () => {
    const area = svg();
    const shown = all('.item').map(centre).filter(([x, y]) => x > area.left + 4 && x < area.left + 156 && y > area.top + 4
      && y < area.top + 156);
    if (!shown.length) return ih.wait(50);
    return {act: 'click', boxes: shown.map(point => around(...point, 8)), at: shown[0]};
  });
  // Buttons light up one after the other, and each may be pressed as soon as it has: nothing is to be remembered.
  task('simon-says', () => {
    if (!ih.watched) {
      for (const button of all('#area button')) {
        const lit = () => { if (button.classList.contains('push')) (ih.memory.lit ??= []).push([button, Date.now()]); };
        new MutationObserver(lit).observe(button, {attributeFilter: ['class']});
        button.addEventListener('click', () => { ih.memory.pressed = (ih.memory.pressed ?? 0) + 1; });
      }
      ih.watched = true;
    }
    const {lit = [], pressed = 0} = ih.memory;
    if (pressed >= lit.length) return ih.wait(50);
    const [button, since] = lit[pressed];
    return Date.now() - since < 450 ? click(button) : null;  // later it cannot be told from a look any more
  });
  // The cube turns on after it is let go: about twice as many degrees as the pointer moved pixels.
  task('drag-cube', () => {
    const goal = ih.query().match(/"(\d)"/)[1], now = text(one('.cube-image.active'));
    if (goal === now) return submit();
    const {positionX: x, positionY: y} = cube.viewport, turn = angle => ((angle % 360) + 540) % 360 - 180;
    const inverted = y > 88 && y < 264;
    const up = goal === '6' ? 88 : goal === '1' ? 264 : inverted ? 176 : 0;
    const across = inverted ? {3: 86, 2: 177, 5: 269, 4: 0}[goal] : {5: 86, 4: 177, 3: 269, 2: 0}[goal];
    const by = (degrees) => Math.sign(degrees) * Math.max(8, Math.min(45, Math.abs(degrees) / 2.5));
    const down = -turn(up - y), right = across === undefined ? 0 : turn(across - x) * (inverted ? -1 : 1);
    const [cx, cy] = centre(one('.viewport'));
    const to = [cx + (Math.abs(right) > 30 ? by(right) : 0), cy + (Math.abs(down) > 30 || !right ? by(down) : 0)];
    return drag([around(cx, cy, 7)], [around(...to, 7)], {from: [cx, cy], to});
  });
  task('stock-market', () => {
    const limit = parseFloat(match(/less than \$([\d.]+)/)[1]), now = parseFloat(text(one('#stock-price')).slice(1));
    return now < limit ? click(one('#buy')) : ih.wait(50);
  });
})();
