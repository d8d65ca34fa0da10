// The extension: starts `fkdsl lsp`, and runs fkdsl on the program at hand.
"use strict";

const os = require("os");
const path = require("path");
const vscode = require("vscode");
const { LanguageClient } = require("vscode-languageclient/node");

let client;

/** The fkdsl command of the settings; a leading ~ is the home folder. */
function command() {
  const given = vscode.workspace.getConfiguration("fkdsl").get("command") || "fkdsl";
  return given.startsWith("~") ? path.join(os.homedir(), given.slice(1)) : given;
}

async function start() {
  const server = { command: command(), args: ["lsp"] };
  const options = {
    documentSelector: [
      { scheme: "file", language: "fk" },
      { scheme: "untitled", language: "fk" },
    ],
  };
  client = new LanguageClient("fkdsl", "fkdsl", server, options);
  try {
    await client.start();
  } catch (error) {
    const help = `The language server does not start: ${error.message}. ` +
      'Install it by pip install "fkdsl[editor]", and name the command in the setting fkdsl.command.';
    vscode.window.showErrorMessage(help);
  }
}

async function stop() {
  if (client !== undefined && client.isRunning()) {
    await client.stop();
  }
  client = undefined;
}

/** The path of the program in the editor, saved; undefined where there is none. */
async function program() {
  const editor = vscode.window.activeTextEditor;
  if (editor === undefined || editor.document.languageId !== "fk") {
    vscode.window.showInformationMessage("Open a .fk file first.");
    return undefined;
  }
  if (editor.document.isUntitled || editor.document.isDirty) {
    if (!(await editor.document.save())) {
      return undefined;
    }
  }
  return vscode.window.activeTextEditor.document.uri.fsPath;
}

/** Runs fkdsl with some arguments in a terminal of its own, and gives its exit status. */
async function task(name, args, file) {
  const execution = new vscode.ProcessExecution(command(), args, { cwd: path.dirname(file) });
  const definition = { type: "fkdsl", name, args };
  const made = new vscode.Task(
    definition, vscode.TaskScope.Global, `${name} ${path.basename(file)}`, "fkdsl", execution
  );
  made.presentationOptions = { clear: true, showReuseMessage: false };
  const started = await vscode.tasks.executeTask(made);
  return new Promise((resolve) => {
    const listener = vscode.tasks.onDidEndTaskProcess((event) => {
      if (event.execution === started) {
        listener.dispose();
        resolve(event.exitCode);
      }
    });
  });
}

function runArguments() {
  return vscode.workspace.getConfiguration("fkdsl").get("runArguments") || [];
}

async function run() {
  const file = await program();
  if (file !== undefined) {
    await task("run", ["run", file, ...runArguments()], file);
  }
}

async function runWithReport() {
  const file = await program();
  if (file === undefined) {
    return;
  }
  const page = path.join(os.tmpdir(), `${path.basename(file, ".fk")}-${Date.now()}.html`);
  const status = await task("run", ["run", file, "--report", page, ...runArguments()], file);
  if (status === 0) {
    await vscode.env.openExternal(vscode.Uri.file(page));
  }
}

async function explain() {
  const file = await program();
  if (file !== undefined) {
    await task("explain", ["explain", file], file);
  }
}

async function restart() {
  await stop();
  await start();
}

async function activate(context) {
  const commands = {
    "fkdsl.run": run,
    "fkdsl.runWithReport": runWithReport,
    "fkdsl.explain": explain,
    "fkdsl.restart": restart,
  };
  for (const [name, handler] of Object.entries(commands)) {
    context.subscriptions.push(vscode.commands.registerCommand(name, handler));
  }
  await start();
}

module.exports = { activate, deactivate: stop };
