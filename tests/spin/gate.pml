/* The yield of the computer to the car: bridge, lease, worker and kill, in ticks of TICK_MS.
 *
 *   Car ──wanted──► Bridge ──state, epoch, lease──► Worker polls, works, stops      Daemon kills what does not stop
 *    │ may change, stop, kill, suspend at any moment
 *
 * Every process that runs acts once a tick, in any order; a worker may also be kept off the CPU. Times are ages, so the
 * state space is finite, and an epoch is the one thing that is asked of it: is the worker's still the word's?
 * LEASE, GRACE and the names of the states are generated from kernels/common/gate_word.h and the settings (model.py).
 *
 * Checked: no step of work later than LEASE after the car is wanted, nor in an epoch whose lease ran out once; a worker
 * that cannot stop (a library's call) is gone GRACE after that. -D NO_LEASE_CHECK, NO_EPOCH_BUMP and LATE_KILL seed
 * one bug each; each must be found.
 */
#define LONG (LEASE + GRACE + 4) /* ages stop growing here */
#define IS_OPEN (state == IS_OPEN_STATE && token && lease > 0)

#ifdef NO_LEASE_CHECK
#define POLL (state == IS_OPEN_STATE && token)
#else
#define POLL IS_OPEN
#endif
#ifdef LATE_KILL
#define KILL_AFTER (GRACE + 2)
#else
#define KILL_AFTER GRACE
#endif
#define NOT_SET 255
/* In the search the car may do anything at any moment; in a simulation, something every twelfth tick or so. */
#ifdef SIMULATED
#define MAY_ACT (car_turn)
#define ACTED car_turn = false;
bool car_turn = false;
#else
#define MAY_ACT (true)
#define ACTED
#endif

byte state = CLOSED_STATE;
byte lease = 0;          /* ticks until the published lease runs out */
byte unseen = 0;         /* ticks since the bridge last evaluated */
bool token = false;      /* the worker's epoch is the word's */
bool lapsed = false;     /* the lease ran out in the worker's epoch */

bool wanted = true;
byte wanted_for = LONG;  /* ticks that the car is wanted, the machine's sleep counted */
byte awake_for = LONG;   /* the same without it */

bool bridge_lives = true, bridge_runs = true;
bool works = false;      /* a worker is there and has work */
bool is_deaf = false;    /* it is inside a call that cannot stop */
byte kill_in = NOT_SET;

bool bridge_turn = true, worker_turn = true, daemon_turn = true;

inline evaluate() {
    if
    :: state == IS_OPEN_STATE && wanted ->
        token = false; state = DRAINING_STATE; lease = 0
    :: state == IS_OPEN_STATE && !wanted && lease == 0 -> /* it was stopped: every reader saw the lease run out */
#ifdef NO_EPOCH_BUMP
        lease = LEASE
#else
        token = false; state = WARMING_STATE; lease = 0
#endif
    :: state == IS_OPEN_STATE && !wanted && lease > 0 -> lease = LEASE
    :: state == WARMING_STATE && wanted -> state = CLOSED_STATE
    :: state == WARMING_STATE && !wanted && unseen > LEASE -> skip
    :: state == WARMING_STATE && !wanted && unseen <= LEASE -> state = IS_OPEN_STATE; lease = LEASE
    :: state == DRAINING_STATE -> state = (wanted -> CLOSED_STATE : WARMING_STATE)
    :: state == CLOSED_STATE -> state = (wanted -> CLOSED_STATE : WARMING_STATE)
    fi;
    unseen = 0;
    printf("EV evaluate %d %d\n", state, lease)
}

active proctype Bridge() {
    do
    :: atomic { bridge_turn && bridge_lives && bridge_runs -> evaluate(); bridge_turn = false }
    od
}

active proctype Worker() {
    do
    :: atomic { worker_turn && !works && state == IS_OPEN_STATE && lease > 0 ->
            works = true; token = true; lapsed = false; is_deaf = false; kill_in = NOT_SET; worker_turn = false;
            printf("EV start\n") }
    :: atomic { worker_turn && works && !is_deaf ->
            if
            :: POLL ->
                printf("EV poll 1\n");
                assert(wanted_for <= LEASE);
                assert(!lapsed);
                if :: true -> skip :: true -> is_deaf = true fi
            :: else -> printf("EV poll 0\n"); works = false
            fi;
            worker_turn = false }
    :: atomic { worker_turn && works && is_deaf -> /* it works on, whatever the word says */
            assert(awake_for <= LEASE + GRACE + 1);
            if :: true -> skip :: true -> is_deaf = false fi;
            worker_turn = false }
    :: atomic { worker_turn -> worker_turn = false } /* others have the CPU, or there is nothing to do */
    od
}

active proctype Daemon() {
    do
    :: atomic { daemon_turn ->
            if
            :: works && !IS_OPEN && kill_in == NOT_SET -> kill_in = KILL_AFTER
            :: else -> skip
            fi;
            if
            :: works && kill_in == 0 -> works = false; kill_in = NOT_SET
            :: else -> skip
            fi;
            daemon_turn = false }
    od
}

active proctype Car() {
    do
    :: atomic { MAY_ACT && !wanted ->
            ACTED wanted = true; wanted_for = 0; awake_for = 0; printf("EV wanted 1\n") }
    :: atomic { MAY_ACT && wanted ->
            ACTED wanted = false; wanted_for = 0; awake_for = 0; printf("EV wanted 0\n") }
    :: atomic { MAY_ACT && bridge_lives && bridge_runs -> /* SIGSTOP */
            ACTED bridge_runs = false }
    :: atomic { MAY_ACT && bridge_lives && !bridge_runs -> /* SIGCONT */
            ACTED bridge_runs = true }
    :: atomic { MAY_ACT && bridge_lives -> /* SIGKILL */
            ACTED bridge_lives = false; printf("EV bridge killed\n") }
    :: atomic { MAY_ACT && !bridge_lives -> /* systemd brings it back: a new writer begins a new epoch */
            ACTED bridge_lives = true; bridge_runs = true;
            state = CLOSED_STATE; token = false; lease = 0; unseen = 0;
            printf("EV bridge started\n") }
    :: atomic { MAY_ACT && works -> /* SIGKILL of the worker, or of the daemon with which it dies */
            ACTED works = false; kill_in = NOT_SET; printf("EV worker gone\n") }
    :: atomic { MAY_ACT && (lease > 0 || unseen < LONG) -> /* the machine sleeps for longer than any lease */
            ACTED lapsed = (state == IS_OPEN_STATE); lease = 0; unseen = LONG;
            if :: wanted -> wanted_for = LONG :: else -> skip fi;
            printf("EV suspend\n") }
    od
}

active proctype Clock() {
    do
    :: atomic { !worker_turn && !daemon_turn && (!bridge_turn || !bridge_lives || !bridge_runs) ->
            if :: lease > 0 -> lease--; if :: lease == 0 && state == IS_OPEN_STATE -> lapsed = true :: else -> skip fi
               :: else -> skip fi;
            if :: unseen < LONG -> unseen++ :: else -> skip fi;
            if :: wanted && wanted_for < LONG -> wanted_for++ :: else -> skip fi;
            if :: wanted && awake_for < LONG -> awake_for++ :: else -> skip fi;
            if :: kill_in != NOT_SET && kill_in > 0 -> kill_in-- :: else -> skip fi;
            bridge_turn = true; worker_turn = true; daemon_turn = true;
#ifdef SIMULATED
            if :: car_turn = true :: skip :: skip :: skip :: skip :: skip :: skip :: skip :: skip :: skip :: skip fi;
#endif
            printf("EV tick\n") }
    od
}
