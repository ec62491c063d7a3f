// Words of made-up applications.
var words = (() => {
  const pick = list => list[Math.floor(Math.random() * list.length)];
  const some = (list, count) => {
    const left = list.slice(), found = [];
    while (found.length < count && left.length) found.push(left.splice(Math.floor(Math.random() * left.length), 1)[0]);
    return found;
  };
  const whole = (low, high) => low + Math.floor(Math.random() * (high - low + 1));
  const lists = {
    first: 'Anna Ben Clara David Emma Felix Greta Henry Iris Jonas Karla Liam Mia Noah Olga Paul Quinn Rosa Simon Tina Uwe Vera Walter Xenia Yuri Zoe'.split(' '),
    last: 'Adler Baker Cohen Dietrich Evans Fischer Garcia Hansen Ito Jensen Keller Lopez Meyer Novak Okafor Patel Roth Schmidt Tanaka Ueda Vogel Weber Young Zimmer'.split(' '),
    city: 'Athens Berlin Cairo Dublin Essen Florence Geneva Hamburg Istanbul Jakarta Kyoto Lisbon Madrid Naples Oslo Prague Quito Rome Sofia Tokyo Utrecht Vienna Warsaw Zurich'.split(' '),
    noun: 'invoice report letter contract order budget photo backup project ticket sample receipt schedule drawing survey manual garden engine bridge window kitchen river mountain paper lamp bottle ticket camera'.split(' '),
    adjective: 'new old blue final quick open hidden weekly monthly private shared large small draft signed urgent quiet bright local remote'.split(' '),
    field: ['Name', 'First name', 'Last name', 'City', 'Street', 'Email', 'Phone', 'Company', 'Title', 'Subject', 'Amount', 'Quantity', 'Reference', 'Order number', 'Zip code', 'Country', 'Department', 'Comment', 'User name', 'Account', 'File name', 'Folder', 'Serial number', 'Project'],
    option: ['Send me news', 'Remember me', 'Accept the terms', 'Show hidden files', 'Use a proxy', 'Save automatically', 'Play sounds', 'Start with the system', 'Keep a copy', 'Wrap lines', 'Show line numbers', 'Check spelling', 'Use large icons', 'Send reports', 'Dark theme', 'Confirm before closing', 'Gift wrap', 'Express delivery', 'Print in colour', 'Include pictures'],
    choice: ['Small', 'Medium', 'Large', 'Daily', 'Weekly', 'Monthly', 'Never', 'Always', 'Left', 'Right', 'Centre', 'Cash', 'Credit card', 'Bank transfer', 'Portrait', 'Landscape', 'Low', 'Normal', 'High', 'Automatic', 'Manual'],
    group: ['Size', 'Interval', 'Position', 'Payment', 'Layout', 'Quality', 'Mode', 'Priority'],
    finish: ['OK', 'Save', 'Apply', 'Submit', 'Send', 'Done', 'Continue', 'Confirm', 'Next', 'Create', 'Add', 'Update', 'Log in', 'Search', 'Order now', 'Finish'],
    leave: ['Cancel', 'Close', 'Back', 'Reset', 'Discard', 'Skip', 'Help', 'No', 'Later', 'Delete'],
    menu: ['File', 'Edit', 'View', 'Insert', 'Format', 'Tools', 'Window', 'Help', 'Go', 'Image', 'Layer', 'Data'],
    item: ['New', 'Open…', 'Save as…', 'Print…', 'Close', 'Undo', 'Redo', 'Cut', 'Copy', 'Paste', 'Select all', 'Find…', 'Replace…', 'Zoom in', 'Zoom out', 'Full screen', 'Word count', 'Preferences', 'About', 'Export', 'Import', 'Rotate', 'Crop', 'Properties', 'Reload', 'Bookmarks', 'History', 'Page setup', 'Rename', 'Duplicate'],
    question: ['Do you want to save the changes?', 'The file exists already. Replace it?', 'Delete this item for good?', 'The connection was lost. Try again?', 'An update is available. Install it now?', 'Leave this page?', 'Allow access to the camera?', 'Your session is about to end.', 'The disk is almost full.', 'Send the report to the team?'],
  };
  const value = field => {
    if (/Email/.test(field)) return `${pick(lists.first).toLowerCase()}.${pick(lists.last).toLowerCase()}@${pick(['mail', 'post', 'web'])}.${pick(['org', 'com', 'net', 'de'])}`;
    if (/Phone|number|Zip|Serial/.test(field)) return String(whole(1000, 999999));
    if (/Amount|Quantity/.test(field)) return String(whole(1, 900));
    if (/First name/.test(field)) return pick(lists.first);
    if (/Last name/.test(field)) return pick(lists.last);
    if (/^Name|Account/.test(field)) return `${pick(lists.first)} ${pick(lists.last)}`;
    if (/City|Country/.test(field)) return pick(lists.city);
    if (/Street/.test(field)) return `${pick(lists.last)} ${pick(['Street', 'Road', 'Lane'])} ${whole(1, 99)}`;
    if (/File/.test(field)) return `${pick(lists.noun)}.${pick(['txt', 'pdf', 'png', 'csv'])}`;
    return Math.random() < .5 ? pick(lists.noun) : `${pick(lists.adjective)} ${pick(lists.noun)}`;
  };
  return {pick, some, whole, lists, value};
})();
