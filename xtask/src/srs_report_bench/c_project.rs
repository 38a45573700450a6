//! A generated C repository in the style of C build tools: documents in `*/devdoc`, sources that quote the texts, tests
//! in `tests/*_ut` and `tests/*_int`, and another project in `deps`.

use super::save;
use std::fmt::Write as _;
use std::path::Path;

/// How large the repository is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) requirements: usize,
    pub(crate) tags: usize,
    pub(crate) lines: usize,
}

const SIDES: [&str; 4] = ["common", "interfaces", "linux", "win32"];
const MODULES: usize = 50;
/// A source, its unit tests and its integration tests.
const FILES: usize = 3;

/// Writes the repository. Returns its number of lines of C.
pub(crate) fn generate(root: &Path, size: Size) -> anyhow::Result<usize> {
    save(&root.join("srs.toml"), "preset = \"c-build-tools\"\n")?;
    save(
        &root.join("deps/other/src/other.c"),
        "/*Codes_SRS_OTHER_01_001: [ Another project's. ]*/\nint other(void);\n",
    )?;
    // Each requirement has code and a unit test. The other tags are on integration tests.
    let integration = size.tags.saturating_sub(2 * size.requirements);
    let mut lines = 0;
    for module in 0..MODULES {
        let share = |total: usize| total * (module + 1) / MODULES - total * module / MODULES;
        let (side, numbers) = (root.join(SIDES[module % SIDES.len()]), share(size.requirements));
        let mut file = File { module, lines: size.lines / MODULES / FILES, fillers: 0 };
        save(&side.join(format!("devdoc/mod{module}_requirements.md")), &document(module, numbers))?;
        lines += save(&side.join(format!("src/mod{module}.c")), &file.source(numbers)?)?;
        for (kind, tests) in [("ut", numbers), ("int", share(integration))] {
            let name = format!("mod{module}_{kind}");
            let text = file.tests(&name, (0..tests).map(|test| (test, test % numbers)))?;
            lines += save(&side.join(format!("tests/{name}/{name}.c")), &text)?;
        }
    }
    Ok(lines)
}

fn id(module: usize, number: usize) -> String {
    format!("SRS_MOD{module:02}_07_{number:03}")
}

fn text(module: usize, number: usize) -> String {
    format!("If `arg` is `NULL`, `mod{module}_f{number}` shall fail and return a non-zero value.")
}

fn document(module: usize, numbers: usize) -> String {
    let requirement = |number| {
        let (id, text) = (id(module, number), text(module, number));
        match number % 3 {
            0 => format!("**{id}: [** {text} **]**\n\n"),
            1 => format!("- **{id}: [**{text}**]**\n\n"),
            _ => format!("    - **{id}: [** {text} **]**\n\n"),
        }
    };
    format!("# mod{module}\n\n") + &(0..numbers).map(requirement).collect::<String>()
}

struct File {
    module: usize,
    lines: usize,
    /// The number of functions without tags so far.
    fillers: usize,
}

impl File {
    fn source(&mut self, numbers: usize) -> anyhow::Result<String> {
        let module = self.module;
        let mut code = "#include <stdlib.h>\n\nMU_DEFINE_ENUM_STRINGS(RESULT, RESULT_VALUES)\n\n".to_owned();
        for number in 0..numbers {
            let tag = format!("Codes_{}: [ {} ]", id(module, number), text(module, number).replace('`', ""));
            let tag = if number % 2 == 0 { format!("/*{tag}*/") } else { format!("// {tag}") };
            write!(
                code,
                "int mod{module}_f{number}(void* arg)\n{{\n    int result;\n    if (arg == NULL)\n    {{\n        {tag}\n        \
                 result = MU_FAILURE;\n    }}\n    else\n    {{\n        result = 0;\n    }}\n    return result;\n}}\n\n"
            )?;
        }
        self.fill(&mut code)?;
        Ok(code)
    }

    fn tests(&mut self, suite: &str, tests: impl Iterator<Item = (usize, usize)>) -> anyhow::Result<String> {
        let module = self.module;
        let mut code = format!("#include \"testrunnerswitcher.h\"\n\nBEGIN_TEST_SUITE({suite})\n\n");
        for (test, number) in tests {
            let text = text(module, number).replace('`', "");
            write!(
                code,
                "/*Tests_{}: [ {text} ]*/\nTEST_FUNCTION({suite}_{test})\n{{\n    // act\n    int result = mod{module}_f{number}(NULL);\n\n    \
                 // assert\n    ASSERT_ARE_NOT_EQUAL(int, 0, result);\n}}\n\n",
                id(module, number)
            )?;
        }
        self.fill(&mut code)?;
        writeln!(code, "END_TEST_SUITE({suite})")?;
        Ok(code)
    }

    /// Adds functions without tags up to the number of lines.
    fn fill(&mut self, code: &mut String) -> anyhow::Result<()> {
        let (module, mut lines) = (self.module, code.lines().count());
        while lines < self.lines {
            let filler = self.fillers;
            write!(
                code,
                "static int helper_{module}_{filler}(int left, int right)\n{{\n    int sum = left + right;\n    if (sum % 7 == 0)\n    {{\n        \
                 // A comment of some length, as code has them.\n        return sum * {filler};\n    }}\n    return sum;\n}}\n\n"
            )?;
            (self.fillers, lines) = (filler + 1, lines + 11);
        }
        Ok(())
    }
}
