# The shell function `stage` of all jobs. RESTARTS and RETRIES are set before it is called.
#
# Runs a command; passes the scheduler's warning on to it. It saves and exits with 75, which
# means: the same again (138: the warning came before it could listen). What fails otherwise, or
# is killed, gets another go, in case the machine was to blame; a mistake (2) does not.
stage() {
    local child= warned=$warned code goes
    trap 'warned=USR1; [ -z "$child" ] || kill -USR1 "$child" 2>/dev/null' USR1
    trap 'warned=TERM; [ -z "$child" ] || kill -TERM "$child" 2>/dev/null' TERM
    "$@" &
    child=$!
    # warned before there was a child, which has nothing to lose: until it listens
    while [ -n "$warned" ] && kill "-$warned" "$child" 2>/dev/null; do sleep 1; done
    while :; do
        wait "$child"
        code=$?
        [ "$code" -gt 128 ] && kill -0 "$child" 2>/dev/null || break
    done
    case "$code" in
        0 | 2) goes=0 ;;
        75 | 138) goes=$RESTARTS ;;
        *) goes=$RETRIES ;;
    esac
    if [ "${SLURM_RESTART_COUNT:-0}" -lt "$goes" ]; then
        scontrol requeue "${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_}\
${SLURM_ARRAY_TASK_ID:-$SLURM_JOB_ID}"
        sleep 300 # until Slurm takes the job back
    fi
    return "$code"
}
