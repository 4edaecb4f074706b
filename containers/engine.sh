# Sourced by the scripts beside it: finds what builds images. Says so and exits 1 if there is nothing.

die() {
  printf '%s\n' "${0##*/}: $1" >&2
  exit 1
}

# macOS has no timeout; an engine that is silent for ever is rare there.
within() {
  if command -v timeout >/dev/null; then timeout "$@"; else shift && "$@"; fi
}

# Whether a tool can work here; docker's command line alone cannot, its engine must answer.
answers() {
  command -v "$1" >/dev/null || return 1
  case "$1" in
    docker) within 20 docker version --format '{{.Server.Version}}' >/dev/null 2>&1 ;;
    podman) within 20 podman info >/dev/null 2>&1 ;;
    buildah) within 20 buildah info >/dev/null 2>&1 ;;
    *) return 1 ;;
  esac
}

# The first of the given tools that works, or the one that ENGINE names.
choose_engine() {
  local tool found=()
  if [[ -n "${ENGINE:-}" ]]; then
    [[ " $* " == *" $ENGINE "* ]] || die "ENGINE '$ENGINE': use one of $*"
    answers "$ENGINE" || die "ENGINE '$ENGINE' is not installed, or does not answer"
    printf '%s\n' "$ENGINE"
    return
  fi
  for tool in "$@"; do
    if answers "$tool"; then
      printf '%s\n' "$tool"
      return
    fi
    if command -v "$tool" >/dev/null; then found+=("$tool"); fi
  done
  local why="none of $* is installed"
  if ((${#found[@]})); then why="${found[*]} is installed, but does not answer (a command line without its engine?)"; fi
  die "$why. On Debian or Ubuntu: apt-get install buildah (needs no service). Elsewhere install podman, or Docker and start it"
}
