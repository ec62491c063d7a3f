// What the episode driver expects of a page: a seed, a start, an instruction, an end.
var WOB_RAW_REWARD_GLOBAL = 0, WOB_REWARD_REASON = null;
Math.seedrandom = seed => {
  let state = 2166136261;
  for (const letter of String(seed)) state = Math.imul(state ^ letter.charCodeAt(0), 16777619);
  Math.random = () => {  // mulberry32, by Tommy Ettinger, public domain
    state = (state + 0x6D2B79F5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
};
var core = {
  EPISODE_MAX_TIME: 60000, EP_TIMER: null, cover_div: null,
  getUtterance: () => document.getElementById('query').textContent,
  startEpisodeReal() {
    clearTimeout(core.EP_TIMER);
    core.achieved = 0;
    genProblem();
    core.EP_TIMER = setTimeout(() => core.endEpisode(-1), core.EPISODE_MAX_TIME);
  },
  endEpisode(reward) {
    if (core.EP_TIMER === null) return;
    clearTimeout(core.EP_TIMER);
    core.EP_TIMER = null;
    WOB_RAW_REWARD_GLOBAL = reward;
    document.getElementById('area').innerHTML = '';
  },
};
