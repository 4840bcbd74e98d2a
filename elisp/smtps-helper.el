;;; smtps-helper.el --- Find, install, start and greet the helper  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; The helper is a Python program beside this file.  It is started when it is
;; first needed and greeted with `hello'; calls wait until it has answered.

;;; Code:

(require 'cl-lib)
(require 'smtps)
(require 'smtps-option)
(require 'smtps-rpc)

(defconst smtps-helper-version "0.1.0"
  "The version of this package; the helper may not be older.")

(defconst smtps-helper-wire 1
  "The version of the wire form that we speak.")

(defconst smtps-helper-hello-seconds 10
  "Seconds that the helper has for its first answer; it takes a fraction of one.")

(defconst smtps-helper-alive-seconds 10
  "Seconds after which a helper that does not even say that it is alive hangs.")

(defconst smtps-helper--file
  (or load-file-name buffer-file-name default-directory)
  "This file, wherever it was loaded from.")

(defvar smtps-helper-death-functions nil
  "Abnormal hook: called with a sentence when the helper has died.")

(defvar smtps-helper-stopping nil
  "Non-nil while `smtps-helper-death-functions' hear of a helper we stopped.")

(defvar smtps-helper--peer nil
  "The peer that is the helper, or nil.")

(defvar smtps-helper--greeted nil
  "The helper's version, once it has answered our greeting.")

(defvar smtps-helper--asked nil
  "The peer that was asked whether it is alive and has not answered, or nil.")

(defvar smtps-helper--waiting nil
  "Calls that wait for the greeting: lists (METHOD ARGS . KEYS), last first.")

(defvar smtps-helper--installing nil
  "The process that installs the helper's libraries, or nil.")

(defvar smtps-helper--subscribers nil
  "Alist: topic -> functions of one plist.")

(defvar smtps-helper--handlers nil
  "Alist: method -> (FUNCTION . SECRET), what the helper may call.")

;;;; Where it is

(defun smtps-helper--bases ()
  "Return the directories beside or in which `python/' may lie."
  (let ((source (concat (file-name-sans-extension smtps-helper--file) ".el")))
    ;; Some package managers put links to a checkout's files elsewhere.
    (delete-dups (list (file-name-directory smtps-helper--file)
                       (file-name-directory (file-truename source))))))

(defun smtps-helper--python-directory ()
  "Return the directory of the helper's source, beside the elisp files.
Signal `smtps-helper-missing' if it is not there."
  (or (cl-loop for base in (smtps-helper--bases) thereis
               ;; A checkout has it beside elisp/, a package in itself.
               (cl-loop for name in '("../python" "python")
                        for directory = (expand-file-name name base)
                        when (file-exists-p (expand-file-name "smtps/app.py" directory))
                        return directory))
      (signal 'smtps-helper-missing
              (list (format "The helper's source is not beside %s; install smtps anew"
                            (file-name-directory smtps-helper--file))))))

(defun smtps-helper--installed-directory ()
  "Return the place of an installed helper."
  (expand-file-name "smtps/helper" user-emacs-directory))

(defun smtps-helper--python ()
  "Return the Python to run the helper with.
Signal `smtps-helper-missing' if there is none."
  (or (cl-find-if #'file-executable-p
                  (list (expand-file-name "bin/python" (smtps-helper--installed-directory))
                        (expand-file-name "../.venv/bin/python"
                                          (smtps-helper--python-directory))))
      (executable-find "python3")
      (signal 'smtps-helper-missing
              '("There is no python3 on this machine; install Python 3.11 or newer"))))

(defun smtps-helper--command ()
  "Return the whole command of the helper, a list of strings.
Signal `smtps-helper-missing' if it can't be told."
  (or (condition-case problem
          (smtps-option 'smtps-helper-command)
        (smtps-option-error (signal 'smtps-helper-missing (cdr problem))))
      (list (smtps-helper--python) "-I" (smtps-helper--python-directory) "rpc")))

(defun smtps-helper-program ()
  "Return the command line of `smtps' without a verb, a list of strings."
  (let ((command (smtps-helper--command)))
    (if (equal (car (last command)) "rpc") (butlast command) command)))

;;;; Public

(defun smtps-helper-live-p ()
  "Return non-nil if the helper is up."
  (smtps-rpc-live-p smtps-helper--peer))

(defun smtps-helper-subscribe (topic function)
  "Have FUNCTION called with the plist of each event of TOPIC.
It runs in a filter and may not ask."
  (cl-pushnew function (alist-get topic smtps-helper--subscribers)))

(defun smtps-helper-serve (method function &optional secret)
  "Let the helper call METHOD: FUNCTION gets the arguments, whose value is sent.
It runs in a filter and may not ask.  If SECRET the value is never logged."
  (setf (alist-get method smtps-helper--handlers) (cons function secret)))

(cl-defun smtps-helper-call (method args &key then else timeout)
  "Call METHOD of the helper with the plist ARGS, and return nil without waiting.
The helper is started first if need be.  One of two is called: THEN with
the value, or ELSE with an error as `condition-case' has it, (CONDITION
SENTENCE . PLIST).  Without an ELSE the sentence is shown.  If there is no
helper to start, ELSE is called at once, else later.  TIMEOUT is in seconds,
from when the helper is up; see `smtps-rpc-call'."
  (let* ((told (or else #'smtps-helper--show))
         (else (lambda (err) (funcall told (smtps-helper--of-version err method)))))
    (condition-case err
        (progn
          ;; The caller's mistakes are the caller's, not those who wait with it.
          (smtps-wire-print (list 'call 0 method args))
          (smtps-helper--start)
          (if smtps-helper--greeted
              (progn
                (smtps-rpc-call smtps-helper--peer method args
                                :then then :else else :timeout timeout)
                (smtps-helper--see-if-alive))
            (push (list method args :then then :else else :timeout timeout)
                  smtps-helper--waiting)))
      (smtps-rpc-error (funcall else err))))
  nil)

(defun smtps-helper--of-version (err method)
  "Return ERR, or what it means if the helper knows no METHOD that we know."
  (if (not (eq (plist-get (cddr err) :kind) 'unknown-method)) err
    (list 'smtps-helper-too-old
          (format "The smtps helper is of another version than this package: it does \
not know `%s'.  M-x smtps-helper-stop ends it, and the next command starts the \
right one%s" method
                  (if smtps-helper-command
                      ", if the option smtps-helper-command is right" "")))))

(defun smtps-helper--show (err)
  "Show the sentence of ERR, an error as `condition-case' has it."
  (message "smtps: %s" (cadr err)))

(defun smtps-helper--see-if-alive ()
  "Ask the helper whether it is alive, and give it up if it does not answer.
It answers at once whatever it is doing; calls may take their time."
  (let ((peer smtps-helper--peer))
    (unless (eq smtps-helper--asked peer)
      (setq smtps-helper--asked peer)
      (smtps-rpc-call
       peer 'alive nil :timeout smtps-helper-alive-seconds
       :then (lambda (_) (smtps-helper--answered peer))
       :else (lambda (err)
               (smtps-helper--answered peer)
               (when (eq (car err) 'smtps-rpc-timeout)
                 (smtps-rpc-abandon
                  peer (list 'smtps-helper-dead
                             (format "The smtps helper hangs: it did not answer within %d seconds"
                                     smtps-helper-alive-seconds)))))))))

(defun smtps-helper--answered (peer)
  "Note that PEER is no longer asked whether it is alive."
  (when (eq smtps-helper--asked peer)
    (setq smtps-helper--asked nil)))

(defun smtps-helper-event (topic plist)
  "Tell the helper of TOPIC with PLIST; if it does not run, do nothing."
  (when (and smtps-helper--greeted (smtps-helper-live-p))
    (condition-case err
        (smtps-rpc-event smtps-helper--peer topic plist)
      (smtps-wire-error (signal (car err) (cdr err)))
      ;; It has just ended, or hangs: that is told elsewhere.
      (smtps-rpc-error nil))))

(defun smtps-helper-stop ()
  "Stop the helper; it finishes what a server may already have.
Open sessions end.  What is to be sent stays in the outbox, and the next
command that needs the helper starts it again."
  (interactive)
  (let ((peer smtps-helper--peer)
        (err '(smtps-helper-dead "The smtps helper was stopped")))
    (when peer
      (smtps-rpc-close peer)
      (let ((smtps-helper-stopping t))
        (if smtps-helper--greeted
            (smtps-helper--died peer err)
          (smtps-helper--not-greeted peer err))))))

;;;; Start

(defun smtps-helper--forget ()
  "Forget the helper that was."
  (setq smtps-helper--peer nil
        smtps-helper--greeted nil))

(defun smtps-helper--start ()
  "Start and greet the helper unless it is up."
  (when (and smtps-helper--greeted
             (version< smtps-helper--greeted smtps-helper-version))
    ;; The package was upgraded while it ran.
    (smtps-helper-stop))
  (unless (smtps-helper-live-p)
    (smtps-helper--forget)
    (let ((peer (smtps-helper--spawn (smtps-helper--command))))
      (setf (smtps-rpc-peer-on-event peer)
            (lambda (topic plist) (smtps-helper--heard peer topic plist))
            (smtps-rpc-peer-on-death peer)
            (lambda (err) (smtps-helper--died peer err)))
      (setq smtps-helper--peer peer)
      (smtps-rpc-call peer 'hello
                      (list :version smtps-helper-version :wire smtps-helper-wire)
                      :timeout smtps-helper-hello-seconds
                      :then (lambda (value) (smtps-helper--hello peer value))
                      :else (lambda (err) (smtps-helper--not-greeted peer err))))))

(defun smtps-helper--spawn (command)
  "Start COMMAND and return the peer.
Signal `smtps-helper-missing', with words that tell what to do, if it can't be."
  (condition-case err
      (smtps-rpc-start :name "smtps-helper" :command command
                       :handlers 'smtps-helper--handlers)
    (smtps-helper-missing
     (signal 'smtps-helper-missing (cdr (smtps-helper--why-not err))))))

(defun smtps-helper--hello (peer hello)
  "Take PEER's answer HELLO to our greeting, and go on with what waits."
  (when (eq peer smtps-helper--peer)
    (let ((err (smtps-helper--unfit hello)))
      (if err
          (smtps-helper--not-greeted peer err)
        (setq smtps-helper--greeted (plist-get hello :version))
        (let ((calls (nreverse smtps-helper--waiting)))
          (setq smtps-helper--waiting nil)
          (dolist (call calls)
            (condition-case err
                (apply #'smtps-rpc-call peer call)
              (smtps-rpc-error (funcall (plist-get (cddr call) :else) err)))))))))

(defun smtps-helper--unfit (hello)
  "Return an error if the helper that said HELLO is not for us."
  (let ((version (and (smtps-rpc--plist-p hello) (plist-get hello :version)))
        (wire (and (smtps-rpc--plist-p hello) (plist-get hello :wire))))
    (cond
     ((not (and (stringp version) (integerp wire)
                (ignore-errors (version-to-list version))))
      (list 'smtps-helper-too-old "The program that was started is not the smtps helper"))
     ((or (< wire smtps-helper-wire) (version< version smtps-helper-version))
      (list 'smtps-helper-too-old
            (format "The smtps helper is of version %s, older than this package (%s).  %s"
                    version smtps-helper-version
                    (if smtps-helper-command (smtps-helper--advice)
                      "Install smtps anew"))))
     ((> wire smtps-helper-wire)
      (list 'smtps-helper-too-old
            (format "The smtps helper is of version %s, newer than what this Emacs \
has loaded (%s).  Restart Emacs" version smtps-helper-version))))))

(defconst smtps-helper--unfit-status 78
  "Exit status by which the helper tells that it lacks something: EX_CONFIG.")

(defun smtps-helper--why-not (err)
  "Return ERR, with which the greeting ended, in words that tell what to do."
  (let ((sentence (cadr err))
        (words (plist-get (cddr err) :words)))
    (pcase (car err)
      ('smtps-rpc-timeout
       (setq err '(smtps-helper-dead)
             sentence (format "The smtps helper did not answer within %d seconds"
                              smtps-helper-hello-seconds)))
      ('smtps-helper-dead
       (when (and (eql (plist-get (cddr err) :status) smtps-helper--unfit-status)
                  (not (equal words "")))
         (setq err '(smtps-helper-missing)
               sentence (concat "The smtps helper can't run: " words)))))
    (list (car err)
          (if (or (string-match-p "smtps-install-helper\\|was stopped" sentence)
                  (eq (car err) 'smtps-helper-too-old))
              sentence
            (concat (string-remove-suffix "." sentence) ".  "
                    (smtps-helper--advice))))))

(defun smtps-helper--advice ()
  "Return what to do about a helper that does not run."
  (if smtps-helper-command
      "See the option smtps-helper-command"
    "M-x smtps-install-helper may mend it"))

(defun smtps-helper--not-greeted (peer err)
  "Give up PEER, which did not greet us because of ERR, and tell who waits."
  (when (eq peer smtps-helper--peer)
    (let ((calls (nreverse smtps-helper--waiting))
          (told (smtps-helper--why-not err)))
      (setq smtps-helper--waiting nil)
      (smtps-helper--forget)
      (smtps-rpc-abandon peer told)
      (dolist (call calls)
        (funcall (plist-get (cddr call) :else) told)))))

(defun smtps-helper--heard (peer topic plist)
  "Pass PEER's event on TOPIC, with PLIST, to its subscribers."
  ;; One that was stopped is heard until it has ended, but not beside the
  ;; next, whose sessions have the same numbers.
  (when (memq smtps-helper--peer (list peer nil))
    (dolist (function (alist-get topic smtps-helper--subscribers))
      (smtps-helper--tell function plist))))

(defun smtps-helper--died (peer err)
  "Show that PEER has ended because of ERR, and tell the death functions."
  (when (eq peer smtps-helper--peer)
    (if (not smtps-helper--greeted)
        (smtps-helper--not-greeted peer err)
      (smtps-helper--forget)
      (smtps-helper--show err)
      (run-hook-wrapped 'smtps-helper-death-functions
                        #'smtps-helper--tell (cadr err)))))

(defun smtps-helper--tell (function argument)
  "Call FUNCTION with ARGUMENT; show its errors, and return nil.
The mistake of one is not to keep the news from others."
  (condition-case err
      (funcall function argument)
    (error (message "Error in smtps: %s" (error-message-string err))))
  nil)

;;;; Install

(defun smtps-helper--installer ()
  "Return the installer's command."
  (list (or (executable-find "python3")
            (signal 'smtps-helper-missing
                    '("There is no python3 on this machine; install Python 3.11 or newer")))
        "-I"
        (expand-file-name "smtps/install.py" (smtps-helper--python-directory))
        (smtps-helper--installed-directory)))

;;;###autoload
(defun smtps-install-helper ()
  "Install the helper's Python libraries for this Emacs, in the background.
They go into a directory of their own in `user-emacs-directory'."
  (interactive)
  (when (process-live-p smtps-helper--installing)
    (user-error "The smtps helper is being installed already"))
  (let ((command (condition-case err
                     (let ((default-directory "/")) (smtps-helper--installer))
                   (smtps-helper-missing (user-error "%s" (cadr err)))))
        (default-directory "/")
        (buffer (get-buffer-create " *smtps install*")))
    (with-current-buffer buffer
      (let ((inhibit-read-only t)) (erase-buffer)))
    (message "Installing what the smtps helper needs...")
    (setq smtps-helper--installing
          (make-process
           :name "smtps-install" :command command :buffer buffer :noquery t
           :connection-type 'pipe :coding 'utf-8-unix
           :sentinel #'smtps-helper--installed))))

(defun smtps-helper--installed (process _event)
  "Tell how the installing PROCESS has ended."
  (unless (process-live-p process)
    (let ((buffer (process-buffer process)))
      (cond
       ((= (process-exit-status process) 0)
        (message "What the smtps helper needs is installed")
        (when (buffer-live-p buffer) (kill-buffer buffer)))
       ((buffer-live-p buffer)
        ;; Without the blank, so that it is found among the buffers.
        (with-current-buffer buffer
          (rename-buffer "*smtps install*" t)
          (message "The smtps helper could not be installed: the buffer %s tells why"
                   (buffer-name))))))))

(provide 'smtps-helper)
;;; smtps-helper.el ends here
