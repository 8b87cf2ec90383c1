# Evaluates one configuration file once for pkg/conf (shell.go starts it).
#
# Descriptor 3 is this script, 4 the text to evaluate, and 5 takes the values
# as rows of NAME, INDEX, VALUE, each ended by NUL, and an empty row at the
# end. 6 takes the text for the second evaluation, and 7 its values, where
# there is more to evaluate. The names that count are in __dkms_names.
#
# A configuration shares its shell with these functions. It runs in a subshell,
# so it spoils at most itself, and nothing but its own values.

builtin shopt -s extglob
# An endless configuration must neither fill the memory or the table of processes
# nor outlive its reader.
builtin ulimit -f 4096 2>/dev/null
builtin ulimit -d 2097152 2>/dev/null
builtin ulimit -u 8192 2>/dev/null
builtin ulimit -t 120 2>/dev/null
builtin ulimit -c 0 2>/dev/null
# Low descriptors belong to the configurations: "exec 3<file" is common.
exec 100<&4 101>&5 102>&6 103>&7 3<&- 4<&- 5>&- 6>&- 7>&-

# __dkms_dump writes all elements of all names; with "cut" in the way that the
# first evaluation passes them on: without one trailing carriage return, split
# into words, with file names expanded, and joined by single blanks. The mark
# keeps the first and the last word from being file names.
__dkms_dump() {
    builtin local __dkms_name __dkms_index __dkms_value __dkms_words __dkms_mark=/dev/null/ __dkms_more=0
    for __dkms_name in "${__dkms_names[@]}"; do
        builtin eval "for __dkms_index in \"\${!$__dkms_name[@]}\"; do
            __dkms_value=\${$__dkms_name[\$__dkms_index]}
            __dkms_emit \"\$1\"
        done"
    done
    if [[ $1 == cut ]]; then
        # To look for names bash compares each variable with each. Those of the kernel's
        # configuration, which some files read, are thousands.
        if [[ -v CONFIG_MODULES && -r $kernel_source_dir/.config ]]; then
            builtin mapfile -t __dkms_words <"$kernel_source_dir/.config"
            builtin unset -v "${__dkms_words[@]%%=*}" 2>/dev/null
        fi
        for __dkms_name in "${!DKMS_DIRECTIVE@}"; do
            builtin printf '%s\0' DKMS_DIRECTIVE 0 "${!__dkms_name}" >&101
        done
    fi
    builtin printf '\0\0\0' >&101
    return "$__dkms_more"
}

__dkms_emit() {
    if [[ $1 == cut ]]; then
        # With "%" the time would grow with the square of the length.
        [[ ${__dkms_value: -1} != $'\r' ]] || __dkms_value=${__dkms_value::-1}
        __dkms_words=()
        __dkms_words=($__dkms_mark$__dkms_value$__dkms_mark)
        builtin printf -v __dkms_value '%s ' "${__dkms_words[@]}"
        __dkms_value=${__dkms_value#"$__dkms_mark"}
        __dkms_value=${__dkms_value%"$__dkms_mark "}
        builtin printf '%s[%s]="%s"\n' "$__dkms_name" "$__dkms_index" "$__dkms_value" >&102
        [[ $__dkms_value != *[\"\`\\\$]* ]] || __dkms_more=10
    fi
    builtin printf '%s\0' "$__dkms_name" "$__dkms_index" "$__dkms_value" >&101
}

# __dkms_read is the first evaluation of a file. Values are written by the
# function that sources, for "declare" in a file makes variables local to it.
__dkms_read() {
    builtin local __dkms_file=$1
    # Only the text's own path makes BASH_SOURCE right; the copy is for files
    # in directories that are closed to an unprivileged reader.
    [[ -f $__dkms_file && -r $__dkms_file ]] || __dkms_file=/proc/self/fd/100
    builtin set --
    builtin source "$__dkms_file"
    builtin set +eu
    __dkms_dump cut
}

# __dkms_assign is the second evaluation, of the text that the first has left.
__dkms_assign() {
    builtin local __dkms_path=/proc/self/fd/${2:-100} __dkms_text
    builtin set --
    if [[ -r $__dkms_path ]]; then
        builtin source "$__dkms_path"
    else # no /proc
        IFS= builtin read -r -d '' -u 100 __dkms_text
        builtin eval "$__dkms_text"
    fi
    __dkms_dump
}

# VER and override_dest_module_location are functions of DKMS that
# configurations call. VER makes versions comparable as text.
VER() {
    builtin local rest="$1" key=
    while [[ $rest =~ ^([^0-9]*)([0-9]+)(.*)$ ]]; do
        key+=${BASH_REMATCH[1]}
        rest=${BASH_REMATCH[3]}
        case ${#BASH_REMATCH[2]} in
        1) key+=00 ;;
        2) key+=0 ;;
        esac
        key+=${BASH_REMATCH[2]}
    done
    key+=$rest
    builtin echo "${key//[[:blank:]]/}"
}

# override_dest_module_location prints where a module with the given
# DEST_MODULE_LOCATION is installed.
override_dest_module_location() {
    if [[ $addon_modules_dir ]]; then
        builtin echo "/$addon_modules_dir"
        return
    fi
    case $running_distribution in
    fedora* | centos* | rhel*) builtin echo /extra ;;
    sles* | suse* | opensuse*) builtin echo /updates ;;
    debian* | ubuntu* | arch*) builtin echo /updates/dkms ;;
    *) builtin echo "$1" ;;
    esac
}

# __dkms_main does what is asked for, read or assign, in a subshell: what a
# configuration does to its shell must not keep this one from ending. It lets
# the second evaluation follow at once where values may have more to evaluate.
# What this shell says of how a subshell has ended is nobody's business.
__dkms_main() {
    builtin unset MAPFILE
    exec 104>&2 2>/dev/null
    ("__dkms_$1" "$2") 2>&104 104>&-
    if [[ $? == 10 && $1 == read && -r /proc/self/fd/102 ]]; then
        exec 101>&103
        (__dkms_assign "" 102) 2>&104 104>&-
    fi
}

builtin readonly -f __dkms_dump __dkms_emit __dkms_read __dkms_assign __dkms_main
