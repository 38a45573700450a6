//! The files that pkg-config and `CMake` read.

use super::SONAME;
use super::place::{Place, shared_name};

/// Quotes paths, because they may have blanks. `pkg-config` then prints the blanks with backslashes, and a shell can
/// `eval` them.
pub(super) fn pkg_config(place: &Place, version: &str) -> String {
    let prefix = place.prefix().display();
    let libdir = match place.libdir_in_prefix() {
        Some(below) => format!("${{prefix}}/{}", below.display()),
        None => place.libdir().display().to_string(),
    };
    format!(
        "prefix={prefix}\n\
         libdir={libdir}\n\
         includedir=${{prefix}}/include\n\
         suppressions=${{prefix}}/share/async-socket\n\
         \n\
         Name: async_socket\n\
         Description: Asynchronous sockets for Linux with the completion model of Windows IOCP\n\
         Version: {version}\n\
         Cflags: -I\"${{includedir}}\"\n\
         Libs: -L\"${{libdir}}\" -lasync_socket\n\
         Libs.private: -lpthread -ldl -lm\n"
    )
}

/// The file that `find_package(async_socket CONFIG)` reads. Its paths are relative to the file, so that a tree can be
/// moved.
pub(super) fn cmake_config(place: &Place, version: &str, has_shared: bool) -> String {
    let libdir = "get_filename_component(_async_socket_libdir \"${_async_socket_here}/../..\" ABSOLUTE)";
    let prefix = match place.libdir_in_prefix() {
        Some(below) => {
            let up = "/..".repeat(below.components().count());
            format!("get_filename_component(_async_socket_prefix \"${{_async_socket_libdir}}{up}\" ABSOLUTE)")
        }
        None => format!("set(_async_socket_prefix \"{}\")", place.prefix().display()),
    };
    let shared_file = shared_name(version);
    let shared = if has_shared {
        format!(
            "
if(NOT TARGET async_socket::shared)
    add_library(async_socket::shared SHARED IMPORTED)
    set_target_properties(async_socket::shared PROPERTIES
        IMPORTED_LOCATION \"${{_async_socket_libdir}}/{shared_file}\"
        IMPORTED_SONAME \"{SONAME}\"
        INTERFACE_INCLUDE_DIRECTORIES \"${{_async_socket_prefix}}/include\")
endif()
"
        )
    } else {
        String::new()
    };
    let default = if has_shared {
        "if(DEFINED BUILD_SHARED_LIBS AND NOT BUILD_SHARED_LIBS)
        set(_async_socket_kind static)
    else()
        set(_async_socket_kind shared)
    endif()"
    } else {
        "set(_async_socket_kind static)"
    };
    format!(
        "# Gives async_socket::static{}, and async_socket::async_socket, which is the {}.

get_filename_component(_async_socket_here \"${{CMAKE_CURRENT_LIST_DIR}}\" REALPATH)
{libdir}
{prefix}

if(NOT TARGET async_socket::static)
    add_library(async_socket::static STATIC IMPORTED)
    set_target_properties(async_socket::static PROPERTIES
        IMPORTED_LOCATION \"${{_async_socket_libdir}}/libasync_socket.a\"
        INTERFACE_INCLUDE_DIRECTORIES \"${{_async_socket_prefix}}/include\"
        INTERFACE_LINK_LIBRARIES \"pthread;dl;m\")
endif()
{shared}
if(NOT TARGET async_socket::async_socket)
    {default}
    add_library(async_socket::async_socket INTERFACE IMPORTED)
    set_target_properties(async_socket::async_socket PROPERTIES
        INTERFACE_LINK_LIBRARIES \"async_socket::${{_async_socket_kind}}\")
    unset(_async_socket_kind)
endif()

# Suppression files for helgrind and the thread sanitizer.
set(async_socket_SUPPRESSIONS_DIR \"${{_async_socket_prefix}}/share/async-socket\")

unset(_async_socket_here)
unset(_async_socket_libdir)
unset(_async_socket_prefix)
",
        if has_shared { ", async_socket::shared" } else { "" },
        if has_shared { "shared one unless BUILD_SHARED_LIBS is off" } else { "static one" },
    )
}

/// Accepts a request for an older minor version of the same major version, as the dynamic linker's name does.
pub(super) fn cmake_version(version: &str) -> String {
    let major = version.split('.').next().unwrap_or(version);
    format!(
        "set(PACKAGE_VERSION \"{version}\")
set(PACKAGE_VERSION_EXACT FALSE)
set(PACKAGE_VERSION_COMPATIBLE FALSE)
if(PACKAGE_FIND_VERSION_RANGE)
    if(PACKAGE_FIND_VERSION_MIN VERSION_LESS_EQUAL PACKAGE_VERSION
            AND (PACKAGE_VERSION VERSION_LESS PACKAGE_FIND_VERSION_MAX
                OR (PACKAGE_FIND_VERSION_RANGE_MAX STREQUAL \"INCLUDE\"
                    AND PACKAGE_VERSION VERSION_EQUAL PACKAGE_FIND_VERSION_MAX)))
        set(PACKAGE_VERSION_COMPATIBLE TRUE)
    endif()
elseif(PACKAGE_FIND_VERSION VERSION_EQUAL PACKAGE_VERSION)
    set(PACKAGE_VERSION_EXACT TRUE)
    set(PACKAGE_VERSION_COMPATIBLE TRUE)
elseif(PACKAGE_FIND_VERSION VERSION_LESS PACKAGE_VERSION AND PACKAGE_FIND_VERSION_MAJOR STREQUAL \"{major}\")
    set(PACKAGE_VERSION_COMPATIBLE TRUE)
endif()
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn place(prefix: &str, libdir: Option<&str>) -> Place {
        Place::new(Path::new(prefix), libdir.map(Path::new), Some(Path::new("/stage"))).unwrap()
    }

    #[test]
    fn the_pkg_config_file_names_what_a_static_link_needs_besides() {
        let text = pkg_config(&place("/opt/x", None), "1.2.3");
        assert!(text.starts_with("prefix=/opt/x\nlibdir=${prefix}/lib\n"), "{text}");
        assert!(text.ends_with("Libs.private: -lpthread -ldl -lm\n"), "{text}");
    }

    #[test]
    fn paths_with_blanks_are_quoted_for_pkg_config() {
        let text = pkg_config(&place("/opt/a b", Some("/usr/my lib")), "1.2.3");
        assert!(text.starts_with("prefix=/opt/a b\nlibdir=/usr/my lib\n"), "{text}");
        assert!(text.contains("\nCflags: -I\"${includedir}\"\nLibs: -L\"${libdir}\" -lasync_socket\n"), "{text}");
    }

    #[test]
    fn cmake_finds_the_prefix_from_however_deep_the_libraries_lie() {
        let text = cmake_config(&place("/usr", Some("lib/x86_64-linux-gnu")), "1.2.3", true);
        assert!(text.contains("_async_socket_prefix \"${_async_socket_libdir}/../..\" ABSOLUTE"), "{text}");
        let text = cmake_config(&place("/usr", Some("/lib64")), "1.2.3", true);
        assert!(text.contains("set(_async_socket_prefix \"/usr\")"), "{text}");
    }

    #[test]
    fn without_a_shared_library_cmake_is_told_of_none() {
        assert!(!cmake_config(&place("/usr", None), "1.2.3", false).contains("shared"));
        assert!(cmake_config(&place("/usr", None), "1.2.3", true).contains("libasync_socket.so.1.2.3"));
    }
}
